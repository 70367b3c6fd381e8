// Runs an exported detector on a folder of pictures and writes its outputs as files.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <future>
#include <iostream>
#include <map>
#include <thread>

#include "dvpp.h"
#include "errors.h"
#include "flags.h"
#include "image_file.h"
#include "infer_session.h"
#include "json.h"
#include "preprocess.h"
#include "result_folder.h"

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

double MillisecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// One picture on its way to the network.
struct Prepared {
  std::string name;
  PictureSize size;
  std::vector<char> input;  // of one row of the batch
  std::string error;        // why it could not be read; empty: it could
  double ms = 0;
};

struct Times {
  double prepare = 0;
  double waited = 0;  // for pictures that were not ready
  double inference = 0;
  double write = 0;
};

// The files in the order of their names, without those of other kinds.
std::vector<fs::path> ListFiles(const std::string &folder, const std::vector<std::string> &endings) {
  std::map<std::string, fs::path> by_name;
  for (const auto &entry : fs::directory_iterator(folder)) {
    std::string ending = entry.path().extension().string();
    std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char letter) { return std::tolower(letter); });
    if (!entry.is_regular_file() || std::find(endings.begin(), endings.end(), ending) == endings.end()) {
      continue;
    }
    const auto [place, is_new] = by_name.emplace(entry.path().stem().string(), entry.path());
    if (!is_new) {
      throw UsageError(place->second.string() + " and " + entry.path().string() +
                       " would have results of the same name; put them into folders of their own");
    }
  }
  if (by_name.empty()) {
    throw UsageError(folder + " holds no file that ends in " + endings.front());
  }
  std::vector<fs::path> files;
  for (const auto &item : by_name) {
    files.push_back(item.second);
  }
  return files;
}

// Sizes of the pictures that preprocess.py made inputs of.
std::map<std::string, PictureSize> ReadSizes(const std::string &path) {
  const Json json = ReadJson(path);
  if (json.AsObject() == nullptr || json.AsObject()->empty()) {
    throw InferError(path + " names no picture; run preprocess.py again");
  }
  std::map<std::string, PictureSize> sizes;
  for (const auto &[name, size] : *json.AsObject()) {
    const JsonReader reader(path, size);
    sizes[name] = {reader.Count("height"), reader.Count("width"), 1};
  }
  return sizes;
}

// Reads pictures, or inputs that are ready, in any number of threads.
class Reader {
 public:
  explicit Reader(const Options &options) : options_(options) {
    if (options.dvpp) {
      dvpp_ = OpenDvpp(options.description, options.session.device_id);
    }
    if (!options.input0_path.empty()) {
      // Beside the folder of the inputs, whether that is written with a slash at its end or not.
      sizes_ = ReadSizes((fs::path(options.input0_path) / ".." / "sizes.json").lexically_normal().string());
    }
  }

  std::vector<fs::path> Files() const {
    if (!sizes_.empty()) {
      return ListFiles(options_.input0_path, {".bin"});
    }
    return ListFiles(options_.dataset_path, dvpp_ != nullptr ? std::vector<std::string>{".jpg", ".jpeg"}
                                                             : std::vector<std::string>{".jpg", ".jpeg", ".png", ".bmp"});
  }

  Prepared Read(const fs::path &path) const {
    const auto start = Clock::now();
    Prepared prepared;
    prepared.name = path.stem().string();
    try {
      if (sizes_.empty()) {
        ReadPicture(path, &prepared);
      } else {
        ReadInput(path, &prepared);
      }
    } catch (const ImageError &error) {
      prepared.error = path.string() + ": " + error.what();
    }
    prepared.ms = MillisecondsSince(start);
    return prepared;
  }

 private:
  void ReadPicture(const fs::path &path, Prepared *prepared) const {
    const std::vector<uint8_t> file = ReadBytes(path.string());
    if (dvpp_ != nullptr) {
      const cv::Size size = CheckImage(file);
      prepared->size = {size.height, size.width, 1};
      prepared->input = dvpp_->Decode(file);
      return;
    }
    const Image image = DecodeImage(file, options_.ignore_orientation);
    prepared->size = {image.bgr.rows, image.bgr.cols, image.orientation};
    const std::vector<float> values = Preprocess(image.bgr, options_.description);
    const char *bytes = reinterpret_cast<const char *>(values.data());
    prepared->input.assign(bytes, bytes + values.size() * sizeof(float));
  }

  void ReadInput(const fs::path &path, Prepared *prepared) const {
    const auto size = sizes_.find(prepared->name);
    if (size == sizes_.end()) {
      throw ImageError("is not named in sizes.json; run preprocess.py again");
    }
    prepared->size = size->second;
    const std::vector<uint8_t> bytes = ReadBytes(path.string());
    const size_t wanted = ByteSize("float32", {3, options_.description.height, options_.description.width});
    if (bytes.size() != wanted) {
      throw ImageError("has " + std::to_string(bytes.size()) + " bytes, the network takes " + std::to_string(wanted));
    }
    prepared->input.assign(bytes.begin(), bytes.end());
  }

  const Options &options_;
  std::map<std::string, PictureSize> sizes_;
  std::unique_ptr<Dvpp> dvpp_;
};

// The files read ahead by some threads, given out in their order.
class ReadAhead {
 public:
  ReadAhead(const Reader &reader, std::vector<fs::path> files, int threads)
      : reader_(reader), files_(std::move(files)), ahead_(static_cast<size_t>(threads)) {}

  bool Done() const { return next_ == files_.size() && waiting_.empty(); }

  Prepared Next() {
    while (next_ < files_.size() && waiting_.size() < ahead_ + 1) {
      waiting_.push_back(std::async(std::launch::async, &Reader::Read, &reader_, files_[next_++]));
    }
    Prepared prepared = waiting_.front().get();
    waiting_.pop_front();
    return prepared;
  }

 private:
  const Reader &reader_;
  std::vector<fs::path> files_;
  size_t ahead_;
  size_t next_ = 0;
  std::deque<std::future<Prepared>> waiting_;
};

// "12 / 100 pictures", over the same line again on a terminal, now and then elsewhere.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total), on_terminal_(isatty(STDERR_FILENO) == 1) {}

  void Show(size_t done) {
    if (done < total_ && MillisecondsSince(last_) < (on_terminal_ ? 500 : 30000)) {
      return;
    }
    last_ = Clock::now();
    std::cerr << (on_terminal_ ? "\r" : "") << done << " / " << total_ << " pictures"
              << (on_terminal_ && done < total_ ? "" : "\n") << std::flush;
  }

 private:
  size_t total_;
  bool on_terminal_;
  Clock::time_point last_ = Clock::now();
};

void CheckInputShape(const InferSession &session, const ModelDescription &description) {
  const std::vector<int64_t> shape = session.InputShape();
  if (!shape.empty() && shape != description.InputShape()) {
    throw UsageError("the model takes " + ShapeText(shape) + ", its description or the flags say " +
                     ShapeText(description.InputShape()) + "; export it again or correct the flags");
  }
}

// Gives the outputs the names of the description, since engines have names of their own, or none.
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
                       ", which is not one row per picture");
    }
  }
}

// Runs one batch, filled up with its last picture, and writes the results.
void RunBatch(InferSession *session, const Options &options, const std::vector<Prepared> &batch, ResultFolder *results,
              Times *times) {
  Tensor input{"images", options.dvpp ? "uint8" : "float32", options.description.InputShape(), {}};
  const size_t row_bytes = batch.front().input.size();
  input.data.resize(row_bytes * static_cast<size_t>(options.description.batch_size));
  for (size_t row = 0; row * row_bytes < input.data.size(); ++row) {
    const Prepared &picture = batch[std::min(row, batch.size() - 1)];
    std::memcpy(input.data.data() + row * row_bytes, picture.input.data(), row_bytes);
  }
  const auto start = Clock::now();
  std::vector<Tensor> outputs = session->Run(input);
  times->inference += MillisecondsSince(start);
  NameAndCheck(options.description, &outputs);
  const auto written = Clock::now();
  for (size_t row = 0; row < batch.size(); ++row) {
    results->Add(batch[row].name, batch[row].size, outputs, row);
    if (!options.save_inputs.empty()) {
      WriteFile(fs::path(options.save_inputs) / (batch[row].name + ".bin"), batch[row].input.data(), row_bytes);
    }
  }
  times->write += MillisecondsSince(written);
}

void PrintTimes(const Times &times, size_t pictures, double total_ms) {
  const double count = static_cast<double>(std::max<size_t>(pictures, 1));
  std::cout << pictures << " pictures in " << total_ms / 1000 << " s, " << 1000 * pictures / total_ms
            << " per second; ms each: preprocess " << times.prepare / count << " (waited for " << times.waited / count
            << "), inference " << times.inference / count << ", write " << times.write / count << std::endl;
}

// With DVPP the model has to end what the chip's decoder begins, and without it must not.
SessionOptions WithAipp(const Options &options) {
  SessionOptions session = options.session;
  if (!options.dvpp) {
    session.aipp_path.clear();
  } else if (session.aipp_path.empty()) {
    fs::create_directories(options.result_path);
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
  if (!options.dvpp) {  // AIPP changes the input
    CheckInputShape(*session, options.description);
  }
  ResultFolder results(options.result_path, fs::path(options.session.model_path).filename().string(), engine);
  if (!options.save_inputs.empty()) {
    fs::create_directories(options.save_inputs);
  }
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  ReadAhead pictures(reader, files, options.readers > 0 ? options.readers : cores);
  Progress progress(files.size());
  Times times;
  size_t calls = 0, failed = 0, done = 0;
  std::vector<Prepared> batch;
  const auto start = Clock::now();
  while (!pictures.Done()) {
    const auto asked = Clock::now();
    Prepared picture = pictures.Next();
    times.waited += MillisecondsSince(asked);
    times.prepare += picture.ms;
    if (picture.error.empty()) {
      batch.push_back(std::move(picture));
    } else {
      std::cerr << "skipped: " << picture.error << std::endl;
      ++failed;
    }
    if (batch.size() == static_cast<size_t>(options.description.batch_size) || (pictures.Done() && !batch.empty())) {
      RunBatch(session.get(), options, batch, &results, &times);
      ++calls;
      done += batch.size();
      batch.clear();
      progress.Show(done + failed);
    }
  }
  results.Finish(calls == 0 ? 0 : times.inference / static_cast<double>(calls), calls);
  PrintTimes(times, done, MillisecondsSince(start));
  if (failed > 0) {
    std::cerr << failed << " of " << files.size() << " pictures could not be read" << std::endl;
  }
  return failed > 0 ? 1 : 0;
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
    std::cerr << "error: " << error.what() << std::endl;
    return 2;
  } catch (const std::exception &error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
