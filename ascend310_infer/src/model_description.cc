#include "model_description.h"

#include <algorithm>
#include <cctype>

#include "errors.h"
#include "json.h"

namespace {

constexpr int kLargest = 1000000;  // of a side and a batch; below it no count of bytes overflows

bool IsBgr(const std::string &path, const std::string &channels) {
  try {
    return OneOf(channels, {"RGB", "BGR"}) == "BGR";
  } catch (const UsageError &error) {
    throw InferError(path + ": channels is " + error.what());
  }
}

void CheckChoice(const std::string &name, const std::string &value, const std::string &one, const std::string &other) {
  if (value != one && value != other) {
    throw UsageError(name + " '" + value + "': choose " + one + " or " + other);
  }
}

}  // namespace

std::string OneOf(const std::string &text, const std::vector<std::string> &choices) {
  const auto same = [](unsigned char one, unsigned char other) { return std::tolower(one) == std::tolower(other); };
  std::string listed;
  for (const std::string &choice : choices) {
    if (std::equal(text.begin(), text.end(), choice.begin(), choice.end(), same)) {
      return choice;
    }
    listed += (listed.empty() ? "" : ", ") + choice;
  }
  throw UsageError("'" + text + "': choose one of " + listed);
}

ModelDescription ReadDescription(const std::string &path) {
  const nlohmann::json json = ReadJson(path);
  if (!json.is_object() || !json.contains("input")) {
    throw InferError(path + " does not describe the input of a model; export the model again");
  }
  const JsonReader input(path, json["input"]);
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
  description.with_postprocess = input.TextOr("layout", "NCHW") == "NHWC";
  description.resized_as = input.TextOr("resized_as", description.resized_as);
  description.bgr = IsBgr(path, input.Text("channels"));
  description.mean = input.Colors("mean");
  description.std = input.Colors("std");
  const auto inputs = json.find("inputs");
  if (inputs != json.end() && inputs->is_array()) {
    for (const nlohmann::json &tensor : *inputs) {
      description.image_sizes |= JsonReader(path, tensor).Text("name") == "image_sizes";
    }
  }
  const auto outputs = json.find("outputs");
  if (outputs != json.end() && outputs->is_array()) {
    for (const nlohmann::json &output : *outputs) {
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
  if (std::max({description.height, description.width, description.batch_size}) > kLargest) {
    throw UsageError("image_height, image_width and batch_size have to be at most " + std::to_string(kLargest));
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
  if (description.padding == "mean" && !description.image_sizes) {
    throw UsageError("a model whose padding is mean takes the sizes of the images as a second input, image_sizes, which "
                     "its description does not name; export the model again, or give --image_sizes");
  }
}
