#include "model_description.h"

#include <cmath>
#include <fstream>
#include <iterator>

#include "errors.h"
#include "json.h"

namespace {

constexpr double kLargestSide = 100000;

// Reads members of an object, every error with the name of the file and the key.
class Reader {
 public:
  Reader(const std::string &path, const Json &json) : path_(path), json_(json) {}

  int Count(const std::string &key) const {
    const Json *value = json_.Find(key);
    const double *number = value == nullptr ? nullptr : value->AsNumber();
    if (number == nullptr || *number < 1 || *number > kLargestSide || *number != std::floor(*number)) {
      Fail(key, "a whole number from 1");
    }
    return static_cast<int>(*number);
  }

  bool Bool(const std::string &key) const {
    const Json *value = json_.Find(key);
    const bool *flag = value == nullptr ? nullptr : value->AsBool();
    if (flag == nullptr) {
      Fail(key, "true or false");
    }
    return *flag;
  }

  std::string Text(const std::string &key) const {
    const Json *value = json_.Find(key);
    const std::string *text = value == nullptr ? nullptr : value->AsString();
    if (text == nullptr) {
      Fail(key, "a text");
    }
    return *text;
  }

  std::array<float, 3> Colors(const std::string &key) const {
    const Json *value = json_.Find(key);
    const Json::Array *numbers = value == nullptr ? nullptr : value->AsArray();
    std::array<float, 3> colors{};
    for (size_t index = 0; index < colors.size(); ++index) {
      const double *number =
          numbers == nullptr || numbers->size() != colors.size() ? nullptr : (*numbers)[index].AsNumber();
      if (number == nullptr) {
        Fail(key, "three numbers");
      }
      colors[index] = static_cast<float>(*number);
    }
    return colors;
  }

 private:
  [[noreturn]] void Fail(const std::string &key, const std::string &wanted) const {
    throw InferError(path_ + ": " + key + " has to be " + wanted + "; export the model again");
  }

  const std::string &path_;
  const Json &json_;
};

}  // namespace

std::string ReadText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw InferError(path + " does not exist or cannot be read");
  }
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

ModelDescription ReadDescription(const std::string &path) {
  Json json;
  try {
    json = Json::Parse(ReadText(path));
  } catch (const InferError &error) {
    throw InferError(path + " is " + error.what());
  }
  const Json *picture = json.Find("input");
  if (picture == nullptr) {
    throw InferError(path + " does not describe the input of a model; export the model again");
  }
  const Reader input(path, *picture);
  ModelDescription description;
  description.batch_size = Reader(path, json).Count("batch_size");
  description.height = input.Count("height");
  description.width = input.Count("width");
  description.keep_ratio = input.Bool("keep_ratio");
  if (description.keep_ratio) {
    description.placement = input.Text("placement");
  }
  description.bgr = input.Text("channels") == "BGR";
  description.mean = input.Colors("mean");
  description.std = input.Colors("std");
  return description;
}

void CheckDescription(const ModelDescription &description) {
  if (description.height < 1 || description.width < 1) {
    throw UsageError("the input size is unknown: there is no json beside the model; give --sidecar_path, or "
                     "--image_height and --image_width, --mean and --std");
  }
  for (float value : description.std) {
    if (!(value > 0)) {
      throw UsageError("std has to hold three numbers above 0; give --std");
    }
  }
  if (description.placement != "corner" && description.placement != "centre") {
    throw UsageError("placement '" + description.placement + "': choose corner or centre");
  }
}
