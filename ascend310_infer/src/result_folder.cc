#include "result_folder.h"

#include <unistd.h>

#include <fstream>
#include <iomanip>
#include <sstream>

#include "errors.h"
#include "json.h"

namespace fs = std::filesystem;

ResultFolder::ResultFolder(const fs::path &root, const std::string &model, const std::string &engine)
    : root_(root), model_(model), engine_(engine) {
  std::error_code error;
  for (const char *name : {"result_Files", "time_Result"}) {
    fs::create_directories(root_ / name, error);
    if (error) {
      throw InferError((root_ / name).string() + " cannot be made: " + error.message());
    }
  }
  fs::remove(root_ / "result_Files" / "outputs.json", error);
}

void ResultFolder::Add(const std::string &name, const PictureSize &size, const std::vector<Tensor> &outputs,
                       size_t row) {
  for (size_t index = 0; index < outputs.size(); ++index) {
    const Tensor &output = outputs[index];
    const size_t bytes = output.data.size() / static_cast<size_t>(output.shape.at(0));
    const fs::path path = root_ / "result_Files" / (name + "_" + std::to_string(index) + ".bin");
    WriteFile(path, output.data.data() + row * bytes, bytes);
  }
  if (outputs_.empty()) {
    for (const Tensor &output : outputs) {
      outputs_.push_back({output.name, output.type, {output.shape.begin() + 1, output.shape.end()}, {}});
    }
  }
  pictures_[name] = size;
}

void ResultFolder::Finish(double inference_ms, size_t calls) const {
  std::ostringstream json;
  json << "{\n\"model\": " << JsonQuoted(model_) << ",\n\"engine\": " << JsonQuoted(engine_) << ",\n\"outputs\": [";
  for (size_t index = 0; index < outputs_.size(); ++index) {
    const Tensor &output = outputs_[index];
    json << (index == 0 ? "\n" : ",\n") << "{\"name\": " << JsonQuoted(output.name) << ", \"type\": "
         << JsonQuoted(output.type) << ", \"shape\": " << ShapeText(output.shape) << "}";
  }
  json << "\n],\n\"pictures\": {";
  const char *separator = "\n";
  for (const auto &[name, size] : pictures_) {
    json << separator << JsonQuoted(name) << ": {\"height\": " << size.height << ", \"width\": " << size.width
         << ", \"orientation\": " << size.orientation << "}";
    separator = ",\n";
  }
  json << "\n}\n}\n";
  const std::string list = json.str();
  WriteFile(root_ / "result_Files" / "outputs.json", list.data(), list.size());

  std::ostringstream time;
  time << "NN inference cost average time: " << std::setprecision(6) << inference_ms << " ms of infer_count " << calls
       << "\n";
  const std::string line = time.str();
  WriteFile(root_ / "time_Result" / "test_perform_static.txt", line.data(), line.size());
}

void WriteFile(const fs::path &path, const char *data, size_t size) {
  fs::path unfinished = path;
  unfinished.replace_filename("." + path.filename().string() + "." + std::to_string(getpid()));
  std::error_code error;
  {
    std::ofstream file(unfinished, std::ios::binary);
    file.write(data, static_cast<std::streamsize>(size));
    file.close();
    if (!file) {
      fs::remove(unfinished, error);
      throw InferError(path.string() + " cannot be written; is the disk full?");
    }
  }
  fs::rename(unfinished, path, error);
  if (error) {
    throw InferError(path.string() + " cannot be written: " + error.message());
  }
}
