#include "model_description.h"

#include <fstream>
#include <iterator>

#include "errors.h"

namespace {

void CheckChoice(const std::string &name, const std::string &value, const std::string &one, const std::string &other) {
  if (value != one && value != other) {
    throw UsageError(name + " '" + value + "': choose " + one + " or " + other);
  }
}

}  // namespace

Json ReadJson(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw InferError(path + " does not exist or cannot be read");
  }
  try {
    return Json::Parse({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
  } catch (const InferError &error) {
    throw InferError(path + " is " + error.what());
  }
}

ModelDescription ReadDescription(const std::string &path) {
  const Json json = ReadJson(path);
  const Json *picture = json.Find("input");
  if (picture == nullptr) {
    throw InferError(path + " does not describe the input of a model; export the model again");
  }
  const JsonReader input(path, *picture);
  ModelDescription description;
  description.batch_size = JsonReader(path, json).Count("batch_size");
  description.height = input.Count("height");
  description.width = input.Count("width");
  description.keep_ratio = input.Bool("keep_ratio");
  if (description.keep_ratio) {
    description.placement = input.Text("placement");
    description.resize_sides = input.CountsOr("resize_sides", description.resize_sides);
    description.padding = input.TextOr("padding", description.padding);
  }
  description.resized_as = input.TextOr("resized_as", description.resized_as);
  description.bgr = input.Text("channels") == "BGR";
  description.mean = input.Colors("mean");
  description.std = input.Colors("std");
  const Json *outputs = json.Find("outputs");
  if (outputs != nullptr && outputs->AsArray() != nullptr) {
    for (const Json &output : *outputs->AsArray()) {
      description.outputs.push_back(JsonReader(path, output).Text("name"));
    }
  }
  return description;
}

void CheckDescription(const ModelDescription &description) {
  if (description.height < 1 || description.width < 1) {
    throw UsageError("the input size is unknown: there is no json beside the model; give --sidecar_path, or "
                     "--image_height and --image_width, --mean and --std");
  }
  if (description.batch_size < 1) {
    throw UsageError("batch_size has to be at least 1; give --batch_size");
  }
  for (float value : description.std) {
    if (!(value > 0)) {
      throw UsageError("std has to hold three numbers above 0; give --std");
    }
  }
  const auto [shorter, longer] = description.resize_sides;
  if ((shorter > 0) != (longer > 0)) {
    throw UsageError("resize_sides has to hold two numbers above 0; give --resize_sides");
  }
  CheckChoice("placement", description.placement, "corner", "center");
  CheckChoice("resized_as", description.resized_as, "uint8", "float32");
  CheckChoice("padding", description.padding, "black", "mean");
}
