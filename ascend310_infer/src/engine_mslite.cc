// MindSpore Lite's C++ API: Ascend 310 and 310P, and CPU. Files: .mindir, with the device package .ms.
#include <map>

#include "engines.h"
#include "errors.h"
#include "include/api/context.h"
#include "include/api/model.h"
#include "include/api/status.h"
#include "include/api/types.h"

namespace {

using mindspore::MSTensor;

std::string TypeName(mindspore::DataType type) {
  using mindspore::DataType;
  static const std::map<DataType, std::string> names = {
      {DataType::kNumberTypeFloat32, "float32"}, {DataType::kNumberTypeFloat16, "float16"},
      {DataType::kNumberTypeInt32, "int32"},     {DataType::kNumberTypeInt64, "int64"},
      {DataType::kNumberTypeUInt8, "uint8"},     {DataType::kNumberTypeBool, "bool"}};
  const auto found = names.find(type);
  return found == names.end() ? "number " + std::to_string(static_cast<int>(type)) : found->second;
}

std::shared_ptr<mindspore::Context> MakeContext(const SessionOptions &options) {
  auto context = std::make_shared<mindspore::Context>();
  if (options.device_type == "CPU") {
    if (!options.precision_mode.empty()) {
      throw UsageError("--precision_mode: the engine mslite takes it on Ascend only");
    }
    if (options.threads > 0) {
      context->SetThreadNum(options.threads);
    }
    context->MutableDeviceInfo().push_back(std::make_shared<mindspore::CPUDeviceInfo>());
    return context;
  }
  auto ascend = std::make_shared<mindspore::AscendDeviceInfo>();
  ascend->SetDeviceID(static_cast<uint32_t>(options.device_id));
  // The present name of allow_fp32_to_fp16, which the old applications used.
  ascend->SetPrecisionMode(options.precision_mode.empty() ? "preferred_fp32" : options.precision_mode);
  if (!options.aipp_path.empty()) {
    ascend->SetInsertOpConfigPath(options.aipp_path);
  }
  context->MutableDeviceInfo().push_back(ascend);
  return context;
}

class MsLiteSession : public InferSession {
 public:
  explicit MsLiteSession(const SessionOptions &options) {
    const bool device_package = HasEnding(options.model_path, ".ms");
    const mindspore::Status status =
        model_.Build(options.model_path, device_package ? mindspore::kMindIR_Lite : mindspore::kMindIR,
                     MakeContext(options));
    if (status != mindspore::kSuccess) {
      throw InferError(options.model_path + " cannot be loaded by MindSpore Lite: " + status.ToString());
    }
    inputs_ = model_.GetInputs();
  }

  std::vector<TensorInfo> Inputs() const override {
    std::vector<TensorInfo> inputs;
    for (const MSTensor &input : inputs_) {
      inputs.push_back({input.Name(), TypeName(input.DataType()), input.Shape()});
    }
    return inputs;
  }

  std::vector<Tensor> Run(const std::vector<Tensor> &inputs) override {
    std::vector<MSTensor> given;
    for (size_t index = 0; index < inputs_.size(); ++index) {
      given.emplace_back(inputs_[index].Name(), inputs_[index].DataType(), inputs_[index].Shape(),
                         inputs.at(index).data.data(), inputs[index].data.size());
    }
    std::vector<MSTensor> found;
    const mindspore::Status status = model_.Predict(given, &found);
    if (status != mindspore::kSuccess) {
      throw InferError("the model cannot be run: " + status.ToString());
    }
    std::vector<Tensor> outputs;
    for (MSTensor &output : found) {
      const std::shared_ptr<const void> data = output.Data();
      const char *bytes = static_cast<const char *>(data.get());
      outputs.push_back({{output.Name(), TypeName(output.DataType()), output.Shape()},
                         {bytes, bytes + output.DataSize()}});
    }
    return outputs;
  }

 private:
  mindspore::Model model_;
  std::vector<MSTensor> inputs_;
};

}  // namespace

std::unique_ptr<InferSession> OpenMsLite(const SessionOptions &options) {
  return std::make_unique<MsLiteSession>(options);
}
