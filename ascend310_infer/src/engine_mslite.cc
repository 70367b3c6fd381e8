// MindSpore Lite's C++ API: Ascend 310 and 310P, and CPU. Files: .mindir, with the device package .ms.
#include <filesystem>
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
  // The old applications asked for allow_fp32_to_fp16, which goes by this name now.
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
    const bool device_package = std::filesystem::path(options.model_path).extension() == ".ms";
    const mindspore::Status status =
        model_.Build(options.model_path, device_package ? mindspore::kMindIR_Lite : mindspore::kMindIR,
                     MakeContext(options));
    if (status != mindspore::kSuccess) {
      throw InferError(options.model_path + " cannot be loaded by MindSpore Lite: " + status.ToString());
    }
    const std::vector<MSTensor> inputs = model_.GetInputs();
    if (inputs.size() != 1) {
      throw InferError(options.model_path + " has to have one input, it has " + std::to_string(inputs.size()));
    }
    input_ = inputs[0];
  }

  std::vector<int64_t> InputShape() const override { return input_.Shape(); }

  std::vector<Tensor> Run(const Tensor &input) override {
    const MSTensor tensor(input_.Name(), input_.DataType(), input_.Shape(), input.data.data(), input.data.size());
    std::vector<MSTensor> found;
    const mindspore::Status status = model_.Predict({tensor}, &found);
    if (status != mindspore::kSuccess) {
      throw InferError("the model cannot be run: " + status.ToString());
    }
    std::vector<Tensor> outputs;
    for (MSTensor &output : found) {
      const std::shared_ptr<const void> data = output.Data();
      const char *bytes = static_cast<const char *>(data.get());
      outputs.push_back({output.Name(), TypeName(output.DataType()), output.Shape(),
                         {bytes, bytes + output.DataSize()}});
    }
    return outputs;
  }

 private:
  mindspore::Model model_;
  MSTensor input_;
};

}  // namespace

std::unique_ptr<InferSession> OpenMsLite(const SessionOptions &options) {
  return std::make_unique<MsLiteSession>(options);
}
