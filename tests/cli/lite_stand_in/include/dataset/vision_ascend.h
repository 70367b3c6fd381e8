#pragma once

#include <vector>

#include "include/dataset/execute.h"

namespace mindspore {
namespace dataset {
namespace vision {
class DvppDecodeResizeJpeg final : public TensorTransform {
 public:
  explicit DvppDecodeResizeJpeg(const std::vector<uint32_t> &resize) : size_(resize) {}
  MSTensor Made(uint32_t device_id) const override;

 private:
  std::vector<uint32_t> size_;
};
}  // namespace vision
}  // namespace dataset
}  // namespace mindspore
