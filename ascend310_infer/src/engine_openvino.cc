// OpenVINO on a CPU, for .onnx files.
#include <map>
#include <openvino/openvino.hpp>
#include <sstream>

#include "engines.h"
#include "errors.h"

namespace {

std::string TypeName(const ov::element::Type &type) {
  static const std::map<std::string, std::string> names = {{"f32", "float32"}, {"f16", "float16"}, {"i32", "int32"},
                                                           {"i64", "int64"},   {"u8", "uint8"},    {"boolean", "bool"}};
  const auto found = names.find(type.get_type_name());
  return found == names.end() ? type.get_type_name() : found->second;
}

ov::element::Type Precision(const std::string &mode) {
  // f32 is set explicitly: on a CPU with AMX the default is bf16, which changes outputs by up to 1 %.
  static const std::map<std::string, ov::element::Type> types = {
      {"", ov::element::f32}, {"f32", ov::element::f32}, {"bf16", ov::element::bf16}, {"f16", ov::element::f16}};
  const auto found = types.find(mode);
  if (found == types.end()) {
    throw UsageError("--precision_mode " + mode + ": the engine openvino takes f32, bf16 or f16");
  }
  return found->second;
}

// The message without the places in OpenVINO's source.
std::string Reason(const std::exception &error) {
  std::istringstream lines(error.what());
  std::string reason;
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.rfind("Exception from ", 0) != 0) {
      reason += (reason.empty() ? "" : "; ") + line;
    }
  }
  return reason;
}

std::string Name(const ov::Output<const ov::Node> &port) {
  return port.get_names().empty() ? "" : port.get_any_name();
}

class OpenVinoSession : public InferSession {
 public:
  explicit OpenVinoSession(const SessionOptions &options) {
    ov::AnyMap settings = {ov::hint::inference_precision(Precision(options.precision_mode)),
                           ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
    if (options.threads > 0) {
      settings.insert(ov::inference_num_threads(options.threads));
    }
    try {
      model_ = core_.compile_model(options.model_path, "CPU", settings);
      request_ = model_.create_infer_request();
    } catch (const ov::Exception &error) {
      throw InferError(options.model_path + " cannot be loaded: " + Reason(error));
    }
  }

  std::vector<TensorInfo> Inputs() const override {
    std::vector<TensorInfo> inputs;
    for (const auto &input : model_.inputs()) {
      TensorInfo info{Name(input), TypeName(input.get_element_type()), {}};
      for (const ov::Dimension &side : input.get_partial_shape()) {
        info.shape.push_back(side.is_static() ? side.get_length() : -1);
      }
      inputs.push_back(info);
    }
    return inputs;
  }

  std::vector<Tensor> Run(const std::vector<Tensor> &inputs) override {
    try {
      for (size_t index = 0; index < inputs.size(); ++index) {
        const ov::Output<const ov::Node> port = model_.input(index);
        // The engine only reads from it.
        request_.set_input_tensor(index, ov::Tensor(port.get_element_type(), port.get_shape(),
                                                    const_cast<char *>(inputs[index].data.data())));
      }
      request_.infer();
      std::vector<Tensor> outputs;
      for (const auto &output : model_.outputs()) {
        const ov::Tensor tensor = request_.get_tensor(output);
        const ov::Shape shape = tensor.get_shape();
        const char *data = static_cast<const char *>(tensor.data());
        outputs.push_back({{Name(output), TypeName(tensor.get_element_type()), {shape.begin(), shape.end()}},
                           {data, data + tensor.get_byte_size()}});
      }
      return outputs;
    } catch (const ov::Exception &error) {
      throw InferError("the model cannot be run: " + Reason(error));
    }
  }

 private:
  ov::Core core_;
  ov::CompiledModel model_;
  ov::InferRequest request_;
};

}  // namespace

std::unique_ptr<InferSession> OpenOpenVino(const SessionOptions &options) {
  return std::make_unique<OpenVinoSession>(options);
}
