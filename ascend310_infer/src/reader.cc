#include "reader.h"

#include <algorithm>
#include <chrono>
#include <set>

#include "errors.h"
#include "files.h"
#include "image_file.h"
#include "json.h"
#include "preprocess.h"

namespace fs = std::filesystem;

namespace {

constexpr size_t kLongestName = 240;  // file systems take 255 bytes, result files add a number and an ending

bool IsOneOf(const fs::path &path, const std::vector<std::string> &endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const std::string &ending) { return HasEnding(path.filename().string(), ending); });
}

std::string Listed(const std::vector<std::string> &words) {
  std::string text;
  for (const std::string &word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text;
}

// The images of one folder, including folders and broken links that are named like an image, so that they are
// reported.
std::vector<fs::path> ListImages(const std::string &folder, const std::vector<std::string> &endings) {
  std::multimap<std::string, fs::path> by_name;
  for (const auto &entry : fs::directory_iterator(folder)) {
    if (IsOneOf(entry.path(), endings)) {
      by_name.emplace(entry.path().stem().string(), entry.path());
    }
  }
  if (by_name.empty()) {
    throw UsageError(folder + " holds no file that ends in " + Listed(endings) +
                     "; images in folders below it go through preprocess.py and --input0_path");
  }
  std::vector<fs::path> files;
  for (const auto &item : by_name) {
    if (!files.empty() && files.back().stem() == item.second.stem()) {
      throw UsageError(files.back().string() + " and " + item.second.string() +
                       " would have results of the same name; put them into folders of their own");
    }
    files.push_back(item.second);
  }
  return files;
}

// The inputs below a folder, and those that are missing there.
std::vector<fs::path> ListInputs(const std::string &folder, const std::map<std::string, ImageSize> &sizes) {
  std::set<fs::path> files;
  for (const auto &entry : fs::recursive_directory_iterator(folder)) {
    if (IsOneOf(entry.path(), {".bin"}) && !entry.is_directory()) {
      files.insert(entry.path());
    }
  }
  for (const auto &item : sizes) {
    files.insert(fs::path(folder) / (item.first + ".bin"));
  }
  return {files.begin(), files.end()};
}

int Orientation(const std::string &path, const nlohmann::json &json, const std::string &key) {
  const int orientation = JsonReader(path, json).Count(key);
  if (orientation > 8) {
    throw InferError(path + ": '" + Shown(key) + "' is " + std::to_string(orientation) +
                     ", an EXIF orientation lies between 1 and 8");
  }
  return orientation;
}

}  // namespace

std::map<std::string, ImageSize> ReadSizes(const std::string &path) {
  const nlohmann::json json = ReadJson(path);
  if (!json.is_object() || json.empty()) {
    throw InferError(path + " names no image; run preprocess.py again");
  }
  std::map<std::string, ImageSize> sizes;
  for (const auto &[name, size] : json.items()) {
    if (!IsPlainName(name)) {
      throw InferError(path + ": '" + Shown(name) + "' is no name below a folder; run preprocess.py again");
    }
    const JsonReader reader(path, size);
    sizes[name] = {reader.Count("height"), reader.Count("width"),
                   size.contains("orientation") ? Orientation(path, size, "orientation") : 1};
  }
  return sizes;
}

std::map<std::string, int> ReadOrientations(const std::string &path) {
  const nlohmann::json json = ReadJson(path);
  if (!json.is_object()) {
    throw InferError(path + " holds no orientations by the names of images");
  }
  std::map<std::string, int> orientations;
  for (const auto &item : json.items()) {
    orientations[item.key()] = Orientation(path, json, item.key());
  }
  return orientations;
}

Reader::Reader(const Options &options) : options_(options) {
  if (options.dvpp) {
    dvpp_ = OpenDvpp(options.description, options.session.device_id);
  }
  if (!options.orientations_path.empty()) {
    orientations_ = ReadOrientations(options.orientations_path);
  }
  if (!options.input0_path.empty()) {
    // Beside the folder of the inputs, whose name may end with a slash.
    sizes_ = ReadSizes((fs::path(options.input0_path) / ".." / "sizes.json").lexically_normal().string());
  }
}

std::vector<fs::path> Reader::Files() const {
  if (!sizes_.empty()) {
    return ListInputs(options_.input0_path, sizes_);
  }
  std::vector<std::string> endings = {".jpg", ".jpeg"};
  if (dvpp_ == nullptr) {
    endings.insert(endings.end(), {".png", ".bmp"});
  }
  return ListImages(options_.dataset_path, endings);
}

std::string Reader::NameOf(const fs::path &path) const {
  const fs::path below = sizes_.empty() ? path.filename() : path.lexically_relative(options_.input0_path);
  return (below.parent_path() / below.stem()).generic_string();
}

Prepared Reader::Read(const fs::path &path) const {
  const auto start = std::chrono::steady_clock::now();
  Prepared prepared;
  prepared.name = NameOf(path);
  prepared.path = path.string();
  try {
    if (!IsUtf8(prepared.name)) {
      throw FileError("its name is not UTF-8, so that no list of results can hold it; rename it");
    }
    if (path.stem().string().size() > kLongestName) {
      throw FileError("its name is too long for the names of its results; rename it");
    }
    if (sizes_.empty()) {
      ReadImage(path, &prepared);
    } else {
      ReadInput(path, &prepared);
    }
  } catch (const FileError &error) {
    prepared.error = error.what();
  }
  prepared.ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return prepared;
}

void Reader::ReadImage(const fs::path &path, Prepared *prepared) const {
  const std::vector<uint8_t> file = ReadBytes(path, MaxBytes(options_.max_image_pixels));
  if (dvpp_ != nullptr) {
    const cv::Size size = CheckImage(file, options_.max_image_pixels);
    prepared->size = {size.height, size.width, 1};
    prepared->input = dvpp_->Decode(file);
    return;
  }
  const auto given = orientations_.find(prepared->name);
  const int orientation = given != orientations_.end() ? given->second : options_.ignore_orientation ? 1 : kOwnOrientation;
  const Image image = DecodeImage(file, orientation, options_.max_image_pixels);
  prepared->size = {image.bgr.rows, image.bgr.cols, image.orientation};
  prepared->input = InputBytes(image.bgr, options_.description);
}

void Reader::ReadInput(const fs::path &path, Prepared *prepared) const {
  const auto size = sizes_.find(prepared->name);
  if (size == sizes_.end()) {
    throw FileError("is not named in sizes.json; run preprocess.py again");
  }
  if (!LiesIn(path, options_.input0_path)) {
    throw FileError("is a link that leads out of " + options_.input0_path + "; run preprocess.py again");
  }
  prepared->size = size->second;
  const size_t wanted = ByteSize(options_.description.InputType(), {3, options_.description.height, options_.description.width});
  const std::vector<uint8_t> bytes = ReadBytes(path, wanted + 1);
  if (bytes.size() != wanted) {
    throw FileError("has " + std::to_string(bytes.size()) + " bytes, the network takes " + std::to_string(wanted));
  }
  prepared->input.assign(bytes.begin(), bytes.end());
}
