#pragma once

#include <memory>
#include <string>
#include <vector>

#include "include/api/context.h"
#include "include/api/status.h"
#include "include/api/types.h"

namespace mindspore {
class Model {
 public:
  Status Build(const std::string &model_path, ModelType model_type,
               const std::shared_ptr<Context> &model_context = nullptr);
  Status Predict(const std::vector<MSTensor> &inputs, std::vector<MSTensor> *outputs);
  std::vector<MSTensor> GetInputs();

 private:
  std::vector<int64_t> shape_;
  bool with_sizes_ = false;
};
}  // namespace mindspore
