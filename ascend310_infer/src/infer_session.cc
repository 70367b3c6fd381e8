#include "infer_session.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "engines.h"
#include "errors.h"

namespace {

struct Engine {
  std::string name;
  std::vector<std::string> endings;
  std::unique_ptr<InferSession> (*open)(const SessionOptions &);  // null: not built in
};

const std::vector<Engine> &Engines() {
  static const std::vector<Engine> engines = {
#ifdef WITH_MSLITE
      {"mslite", {".mindir", ".ms"}, OpenMsLite},
#else
      {"mslite", {".mindir", ".ms"}, nullptr},
#endif
#ifdef WITH_OPENVINO
      {"openvino", {".onnx", ".xml"}, OpenOpenVino},
#else
      {"openvino", {".onnx", ".xml"}, nullptr},
#endif
#ifdef WITH_MINDSPORE
      {"mindspore", {".mindir"}, OpenMindSpore},
#else
      {"mindspore", {".mindir"}, nullptr},
#endif
  };
  return engines;
}

std::string Joined(const std::vector<std::string> &words) {
  std::string text;
  for (const auto &word : words) {
    text += (text.empty() ? "" : ", ") + word;
  }
  return text.empty() ? "none" : text;
}

bool IsHalfFinite(uint16_t bits) { return (bits & 0x7C00) != 0x7C00; }

template <typename Value, typename Test>
bool AllOf(const char *data, size_t bytes, const Test &test) {
  for (size_t position = 0; position + sizeof(Value) <= bytes; position += sizeof(Value)) {
    Value value;
    std::memcpy(&value, data + position, sizeof(Value));
    if (!test(value)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool HasEnding(const std::string &text, const std::string &ending) {
  const auto same = [](unsigned char one, unsigned char other) { return std::tolower(one) == std::tolower(other); };
  return text.size() >= ending.size() && std::equal(ending.rbegin(), ending.rend(), text.rbegin(), same);
}

size_t ElementSize(const std::string &type) {
  static const std::map<std::string, size_t> sizes = {{"float32", 4}, {"float16", 2}, {"int32", 4},
                                                      {"int64", 8},   {"uint8", 1},   {"bool", 1}};
  const auto found = sizes.find(type);
  if (found == sizes.end()) {
    throw InferError("the model has an output of the type " + type + ", which is not supported");
  }
  return found->second;
}

size_t ByteSize(const std::string &type, const std::vector<int64_t> &shape) {
  return std::accumulate(shape.begin(), shape.end(), ElementSize(type),
                         [](size_t product, int64_t side) { return product * static_cast<size_t>(side); });
}

std::string ShapeText(const std::vector<int64_t> &shape) {
  std::vector<std::string> sides;
  for (int64_t side : shape) {
    sides.push_back(side < 0 ? "?" : std::to_string(side));
  }
  return "[" + (sides.empty() ? "" : Joined(sides)) + "]";
}

bool IsFinite(const Tensor &tensor, size_t row) {
  const size_t bytes = tensor.data.size() / static_cast<size_t>(tensor.shape.at(0));
  const char *data = tensor.data.data() + row * bytes;
  if (tensor.type == "float32") {
    return AllOf<float>(data, bytes, [](float value) { return std::isfinite(value); });
  }
  return tensor.type != "float16" || AllOf<uint16_t>(data, bytes, IsHalfFinite);
}

std::vector<std::string> BuiltEngines() {
  std::vector<std::string> names;
  for (const Engine &engine : Engines()) {
    if (engine.open != nullptr) {
      names.push_back(engine.name);
    }
  }
  return names;
}

std::string EngineFor(const std::string &model_path) {
  std::vector<std::string> able;
  for (const Engine &engine : Engines()) {
    const auto takes = [&](const std::string &ending) { return HasEnding(model_path, ending); };
    if (std::any_of(engine.endings.begin(), engine.endings.end(), takes)) {
      if (engine.open != nullptr) {
        return engine.name;
      }
      able.push_back(engine.name);
    }
  }
  throw UsageError(able.empty() ? model_path + ": unknown kind of model; it has to end in .mindir, .ms, .onnx or .xml"
                                : model_path + " needs the engine " + Joined(able) +
                                      ", which this program was built without (built in: " + Joined(BuiltEngines()) +
                                      "); name it to build.sh");
}

std::unique_ptr<InferSession> OpenSession(const std::string &name, const SessionOptions &options) {
  for (const Engine &engine : Engines()) {
    if (engine.name == name) {
      if (engine.open == nullptr) {
        throw UsageError("this program was built without the engine " + name + " (built in: " +
                         Joined(BuiltEngines()) + "); name it to build.sh");
      }
      if (options.device_type == "Ascend" && name != "mslite") {
        throw UsageError("--device_type: the engine " + name + " runs on the CPU; mslite runs on Ascend");
      }
      return engine.open(options);
    }
  }
  throw UsageError("unknown engine '" + name + "'; choose mslite, openvino or mindspore");
}
