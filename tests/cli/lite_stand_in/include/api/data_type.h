// The part of MindSpore Lite's C++ API that ascend310_infer uses, with the published names and signatures.
#pragma once

namespace mindspore {
enum class DataType : int {
  kTypeUnknown = 0,
  kNumberTypeBool = 30,
  kNumberTypeInt32 = 34,
  kNumberTypeInt64 = 35,
  kNumberTypeUInt8 = 37,
  kNumberTypeFloat16 = 42,
  kNumberTypeFloat32 = 43,
};
}  // namespace mindspore
