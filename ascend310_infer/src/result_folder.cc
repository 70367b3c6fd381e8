#include "result_folder.h"

#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "errors.h"
#include "files.h"

namespace fs = std::filesystem;

ResultFolder::ResultFolder(const fs::path &root, const std::string &model, const std::string &engine)
    : root_(root), model_(model), engine_(engine) {
  for (const char *name : {"result_Files", "time_Result"}) {
    MakeFolder(root_ / name);
  }
  std::error_code error;
  fs::remove(root_ / "result_Files" / "outputs.json", error);
}

void ResultFolder::Add(const std::string &name, const ImageSize &size, const std::vector<Tensor> &outputs,
                       size_t row) {
  const fs::path folder = (root_ / "result_Files" / name).parent_path();
  if (fs::path(name).has_parent_path()) {
    MakeFolder(folder);
    if (!LiesIn(folder, root_ / "result_Files")) {
      throw InferError(folder.string() + " is a link that leads out of " + root_.string() + "; remove it");
    }
  }
  for (size_t index = 0; index < outputs.size(); ++index) {
    const Tensor &output = outputs[index];
    const size_t bytes = output.data.size() / static_cast<size_t>(output.shape.at(0));
    const std::string file = fs::path(name).filename().string() + "_" + std::to_string(index) + ".bin";
    WriteFile(folder / file, output.data.data() + row * bytes, bytes);
  }
  if (outputs_.empty()) {
    for (const Tensor &output : outputs) {
      outputs_.push_back({output.name, output.type, {output.shape.begin() + 1, output.shape.end()}});
    }
  }
  images_[name] = size;
}

void ResultFolder::Finish(double inference_ms, size_t calls) const {
  nlohmann::json about = {{"model", model_}, {"engine", engine_}, {"outputs", nlohmann::json::array()},
                          {"pictures", nlohmann::json::object()}};
  for (const TensorInfo &output : outputs_) {
    about["outputs"].push_back({{"name", output.name}, {"type", output.type}, {"shape", output.shape}});
  }
  for (const auto &[name, size] : images_) {
    about["pictures"][name] = {{"height", size.height}, {"width", size.width}, {"orientation", size.orientation}};
  }
  const std::string list = about.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  WriteFile(root_ / "result_Files" / "outputs.json", list.data(), list.size());

  std::ostringstream time;
  time << "NN inference cost average time: " << std::setprecision(6) << inference_ms << " ms of infer_count " << calls
       << "\n";
  const std::string line = time.str();
  WriteFile(root_ / "time_Result" / "test_perform_static.txt", line.data(), line.size());
}
