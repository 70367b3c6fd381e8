#pragma once

#include <memory>

#include "include/api/status.h"
#include "include/api/types.h"

namespace mindspore {
namespace dataset {
enum class MapTargetDevice { kCpu, kGpu, kAscend310 };

class TensorTransform {
 public:
  virtual ~TensorTransform() = default;
  virtual MSTensor Made(uint32_t device_id) const = 0;  // the stand-in's own
};

class Execute {
 public:
  explicit Execute(const std::shared_ptr<TensorTransform> &op, MapTargetDevice device_type = MapTargetDevice::kCpu,
                   uint32_t device_id = 0)
      : op_(op), device_id_(device_id) {
    (void)device_type;
  }
  Status operator()(const MSTensor &input, MSTensor *output) {
    if (input.DataSize() == 0) {
      return {kLiteError, "no file"};
    }
    *output = op_->Made(device_id_);
    return kSuccess;
  }

 private:
  std::shared_ptr<TensorTransform> op_;
  uint32_t device_id_;
};
}  // namespace dataset
}  // namespace mindspore
