// Runs an exported detector on a folder of images and writes its outputs as files.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "dvpp.h"
#include "errors.h"
#include "files.h"
#include "flags.h"
#include "infer_session.h"
#include "preprocess.h"
#include "reader.h"
#include "result_folder.h"

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

struct Times {
  double prepare = 0;
  double waited = 0;  // for images that were not ready
  double inference = 0;
  double write = 0;
};

// "12 / 100 images", over the same line again on a terminal, now and then elsewhere.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total), on_terminal_(isatty(STDERR_FILENO) == 1) {}

  void Show(size_t done) {
    if (done < total_ && MillisecondsSince(last_) < (on_terminal_ ? 500 : 30000)) {
      return;
    }
    last_ = Clock::now();
    std::cerr << (on_terminal_ ? "\r" : "") << done << " / " << total_ << " images"
              << (on_terminal_ && done < total_ ? "" : "\n") << std::flush;
  }

 private:
  size_t total_;
  bool on_terminal_;
  Clock::time_point last_ = Clock::now();
};

// The inputs of the network without data; the images come first.
std::vector<TensorInfo> WantedInputs(const Options &options) {
  std::vector<TensorInfo> inputs = {
      {"images", options.dvpp ? "uint8" : options.description.InputType(), options.description.InputShape()}};
  const std::vector<int64_t> sizes = {options.description.batch_size, 2};
  if (options.description.image_sizes) {
    inputs.push_back({"image_sizes", "float32", sizes});
  }
  if (options.description.with_postprocess) {
    inputs.push_back({"original_size", "float32", sizes});
  }
  return inputs;
}

void AppendSize(const cv::Size &size, std::vector<char> *data) {
  const std::array<float, 2> sides = {static_cast<float>(size.height), static_cast<float>(size.width)};
  const char *bytes = reinterpret_cast<const char *>(sides.data());
  data->insert(data->end(), bytes, bytes + sizeof(sides));
}

void CheckInputs(const Options &options, const std::vector<TensorInfo> &found) {
  const std::vector<TensorInfo> wanted = WantedInputs(options);
  const std::string &model = options.session.model_path;
  if (found.size() != wanted.size()) {
    std::string names;
    for (const TensorInfo &input : found) {
      names += (names.empty() ? "" : ", ") + input.name;
    }
    throw InferError(model + " has " + std::to_string(found.size()) + " inputs (" + names + "), this program feeds " +
                     std::to_string(wanted.size()) + "; export it with export.py");
  }
  for (size_t index = 0; index < wanted.size(); ++index) {
    const std::vector<int64_t> &shape = found[index].shape;
    if (std::any_of(shape.begin(), shape.end(), [](int64_t side) { return side < 0; })) {
      throw InferError(model + " takes " + ShapeText(shape) + ", whose size is not fixed; export it with export.py, " +
                       "whose --export_batch_size fixes the batch");
    }
    if (shape != wanted[index].shape) {
      throw UsageError("the model takes " + ShapeText(shape) + ", its description or the flags say " +
                       ShapeText(wanted[index].shape) + "; export it again or correct the flags");
    }
    if (found[index].type != wanted[index].type) {
      throw InferError(model + " takes numbers of the type " + found[index].type + ", this program feeds " +
                       wanted[index].type + "; export it with inputs of that type");
    }
  }
}

// Gives the outputs the names from the description file, because engines use other names or none.
void NameAndCheck(const ModelDescription &description, std::vector<Tensor> *outputs) {
  if (!description.outputs.empty() && description.outputs.size() != outputs->size()) {
    throw InferError("the model has " + std::to_string(outputs->size()) + " outputs, its description names " +
                     std::to_string(description.outputs.size()) + "; export it again");
  }
  for (size_t index = 0; index < description.outputs.size(); ++index) {
    (*outputs)[index].name = description.outputs[index];
  }
  for (const Tensor &output : *outputs) {
    if (output.shape.empty() || output.shape[0] != description.batch_size ||
        output.data.size() != ByteSize(output.type, output.shape)) {
      throw InferError("output " + output.name + " has the shape " + ShapeText(output.shape) +
                       ", which is not one row per image");
    }
  }
}

// The inputs of one batch, padded with its last image.
std::vector<Tensor> NetworkInputs(const Options &options, const std::vector<Prepared> &batch) {
  std::vector<Tensor> inputs;
  for (const TensorInfo &info : WantedInputs(options)) {
    inputs.push_back({info, {}});
  }
  for (size_t row = 0; row < static_cast<size_t>(options.description.batch_size); ++row) {
    const Prepared &image = batch[std::min(row, batch.size() - 1)];
    std::vector<char> &images = inputs.front().data;
    images.insert(images.end(), image.input.begin(), image.input.end());
    const cv::Size size(image.size.width, image.size.height);
    if (options.description.image_sizes) {
      AppendSize(SizeInInput(size, options.description), &inputs[1].data);
    }
    if (options.description.with_postprocess) {
      AppendSize(size, &inputs.back().data);
    }
  }
  return inputs;
}

// The first output whose row contains NaN or infinity, which decoding would silently turn into fewer detections.
const Tensor *NotFinite(const std::vector<Tensor> &outputs, size_t row) {
  const auto found = std::find_if(outputs.begin(), outputs.end(),
                                  [row](const Tensor &output) { return !IsFinite(output, row); });
  return found == outputs.end() ? nullptr : &*found;
}

// Runs one batch and writes the results; returns the number of images with unusable outputs.
size_t RunBatch(InferSession *session, const Options &options, const std::vector<Prepared> &batch,
                ResultFolder *results, Times *times) {
  const std::vector<Tensor> inputs = NetworkInputs(options, batch);
  const auto start = Clock::now();
  std::vector<Tensor> outputs = session->Run(inputs);
  times->inference += MillisecondsSince(start);
  NameAndCheck(options.description, &outputs);
  const auto written = Clock::now();
  size_t failed = 0;
  for (size_t row = 0; row < batch.size(); ++row) {
    if (const Tensor *output = NotFinite(outputs, row)) {
      std::cerr << "error: " << Shown(batch[row].path) << ": output " << Shown(output->name)
                << " holds NaN or infinity; the model is damaged, or its precision too low for it" << std::endl;
      ++failed;
      continue;
    }
    results->Add(batch[row].name, batch[row].size, outputs, row);
    if (!options.save_inputs.empty()) {
      const fs::path path = fs::path(options.save_inputs) / (batch[row].name + ".bin");
      MakeFolder(path.parent_path());
      WriteFile(path, batch[row].input.data(), batch[row].input.size());
    }
  }
  times->write += MillisecondsSince(written);
  return failed;
}

void PrintTimes(const Times &times, size_t images, double total_ms) {
  const double count = static_cast<double>(std::max<size_t>(images, 1));
  std::cout << images << " images in " << total_ms / 1000 << " s, " << 1000 * images / total_ms
            << " per second; ms each: preprocess " << times.prepare / count << " (waited for " << times.waited / count
            << "), inference " << times.inference / count << ", write " << times.write / count << std::endl;
}

// A model for DVPP contains AIPP, and a model without DVPP must not.
SessionOptions WithAipp(const Options &options) {
  SessionOptions session = options.session;
  if (!options.dvpp) {
    session.aipp_path.clear();
  } else if (session.aipp_path.empty()) {
    MakeFolder(options.result_path);
    session.aipp_path = (fs::path(options.result_path) / "aipp.cfg").string();
    const std::string text = AippConfig(options.description);
    WriteFile(session.aipp_path, text.data(), text.size());
  }
  return session;
}

int Run(const Options &options) {
  const Reader reader(options);
  const std::vector<fs::path> files = reader.Files();
  const std::string engine = options.engine.empty() ? EngineFor(options.session.model_path) : options.engine;
  if (options.dvpp && engine != "mslite") {
    throw UsageError("--cpu_dvpp DVPP needs the engine mslite");
  }
  const auto session = OpenSession(engine, WithAipp(options));
  const std::vector<TensorInfo> inputs = session->Inputs();
  if (!options.dvpp && !inputs.empty()) {  // AIPP changes the input
    CheckInputs(options, inputs);
  }
  ResultFolder results(options.result_path, fs::path(options.session.model_path).filename().string(), engine);
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  ReadAhead images(reader, files, options.readers > 0 ? options.readers : cores);
  Progress progress(files.size());
  Times times;
  size_t calls = 0, unread = 0, failed = 0, done = 0;
  std::vector<Prepared> batch;
  const auto start = Clock::now();
  while (!images.Done()) {
    const auto asked = Clock::now();
    Prepared image = images.Next();
    times.waited += MillisecondsSince(asked);
    times.prepare += image.ms;
    if (image.error.empty()) {
      batch.push_back(std::move(image));
    } else {
      std::cerr << "skipped: " << Shown(image.path + ": " + image.error) << std::endl;
      ++unread;
    }
    if (batch.size() == static_cast<size_t>(options.description.batch_size) || (images.Done() && !batch.empty())) {
      failed += RunBatch(session.get(), options, batch, &results, &times);
      ++calls;
      done += batch.size();
      batch.clear();
      progress.Show(done + unread);
    }
  }
  results.Finish(calls == 0 ? 0 : times.inference / static_cast<double>(calls), calls);
  PrintTimes(times, done, MillisecondsSince(start));
  if (unread > 0) {
    std::cerr << unread << " of " << files.size() << " images could not be read" << std::endl;
  }
  if (failed > 0) {
    std::cerr << failed << " of " << files.size() << " images have unusable outputs and no results" << std::endl;
  }
  return unread + failed > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char **argv) {
  try {
    const Options options = ParseFlags(argc, argv);
    if (options.help) {
      std::cout << HelpText();
      return 0;
    }
    return Run(options);
  } catch (const UsageError &error) {
    std::cerr << "error: " << Shown(error.what()) << std::endl;
    return 2;
  } catch (const std::exception &error) {
    std::cerr << "error: " << Shown(error.what()) << std::endl;
    return 1;
  }
}
