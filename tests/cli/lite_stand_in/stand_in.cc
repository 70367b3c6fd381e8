// A library in the place of MindSpore Lite: its models are text files that hold a batch size, 3, a height and a width;
// with a 2 behind them they take the sizes of the images as a second input, which they give back as a last output.
// Per picture they give the sums of the channels (float32), the half precision number 1.5 (float16), the number of
// values (int32) and whether the first one is above 0 (bool). With AIPP they take YUV420SP, and the first sum is that of
// its bytes. Every byte of a picture from DVPP is 7.
#include <cstring>
#include <fstream>
#include <iostream>
#include <numeric>

#include "include/api/model.h"
#include "include/dataset/vision_ascend.h"

namespace mindspore {
struct MSTensor::Impl {
  std::string name;
  enum DataType type;
  std::vector<int64_t> shape;
  std::vector<char> data;
};

MSTensor::MSTensor() : impl_(std::make_shared<Impl>()) {}
MSTensor::MSTensor(const std::string &name, enum DataType type, const std::vector<int64_t> &shape, const void *data,
                   size_t data_len)
    : impl_(std::make_shared<Impl>()) {
  const char *bytes = static_cast<const char *>(data);
  *impl_ = {name, type, shape, {bytes, bytes + data_len}};
}
std::string MSTensor::Name() const { return impl_->name; }
enum DataType MSTensor::DataType() const { return impl_->type; }
const std::vector<int64_t> &MSTensor::Shape() const { return impl_->shape; }
int64_t MSTensor::ElementNum() const {
  return std::accumulate(impl_->shape.begin(), impl_->shape.end(), int64_t{1}, std::multiplies<int64_t>());
}
std::shared_ptr<const void> MSTensor::Data() const { return {impl_, impl_->data.data()}; }
void *MSTensor::MutableData() { return impl_->data.data(); }
size_t MSTensor::DataSize() const { return impl_->data.size(); }

Status Model::Build(const std::string &path, ModelType type, const std::shared_ptr<Context> &context) {
  std::ifstream file(path);
  int64_t side = 0;
  while (file >> side) {
    shape_.push_back(side);
  }
  with_sizes_ = shape_.size() == 5;
  shape_.resize(with_sizes_ ? 4 : shape_.size());
  if (shape_.size() != 4) {
    return {kLiteError, "no model of the stand-in"};
  }
  std::cerr << "stand-in: type " << type << ", threads " << context->GetThreadNum() << ", "
            << context->MutableDeviceInfo().at(0)->Described() << std::endl;
  return kSuccess;
}

std::vector<MSTensor> Model::GetInputs() {
  std::vector<MSTensor> inputs = {MSTensor("images", DataType::kNumberTypeFloat32, shape_, nullptr, 0)};
  if (with_sizes_) {
    inputs.push_back(MSTensor("image_sizes", DataType::kNumberTypeFloat32, {shape_[0], 2}, nullptr, 0));
  }
  return inputs;
}

Status Model::Predict(const std::vector<MSTensor> &inputs, std::vector<MSTensor> *outputs) {
  const size_t batch = static_cast<size_t>(shape_[0]), plane = static_cast<size_t>(shape_[2] * shape_[3]);
  const auto holder = inputs.at(0).Data();
  const size_t bytes = inputs[0].DataSize();
  std::vector<float> values(batch * 3 * plane);
  if (bytes == batch * plane * 3 / 2) {
    const auto *yuv = static_cast<const uint8_t *>(holder.get());
    for (size_t row = 0; row < batch; ++row) {
      values[row * 3 * plane] = std::accumulate(yuv + row * plane * 3 / 2, yuv + (row + 1) * plane * 3 / 2, 0.0f);
    }
  } else if (bytes == values.size() * sizeof(float)) {
    std::memcpy(values.data(), holder.get(), bytes);
  } else {
    return {kLiteError, "the input has " + std::to_string(bytes) + " bytes"};
  }
  std::vector<float> sums(batch * 3);
  std::vector<uint16_t> halves(batch, 0x3E00);
  std::vector<int32_t> counts(batch, static_cast<int32_t>(3 * plane));
  std::vector<char> above(batch);
  for (size_t channel = 0; channel < sums.size(); ++channel) {
    sums[channel] = std::accumulate(&values[channel * plane], &values[channel * plane] + plane, 0.0f);
  }
  for (size_t row = 0; row < batch; ++row) {
    above[row] = values[row * 3 * plane] > 0;
  }
  const int64_t rows = shape_[0];
  *outputs = {MSTensor("sums", DataType::kNumberTypeFloat32, {rows, 3}, sums.data(), sums.size() * 4),
              MSTensor("half", DataType::kNumberTypeFloat16, {rows, 1}, halves.data(), halves.size() * 2),
              MSTensor("count", DataType::kNumberTypeInt32, {rows}, counts.data(), counts.size() * 4),
              MSTensor("above", DataType::kNumberTypeBool, {rows, 1}, above.data(), above.size())};
  if (with_sizes_) {
    outputs->push_back(inputs.at(1));
  }
  return kSuccess;
}

MSTensor dataset::vision::DvppDecodeResizeJpeg::Made(uint32_t device_id) const {
  std::cerr << "stand-in: DVPP " << size_[0] << " x " << size_[1] << " on device " << device_id << std::endl;
  const std::vector<char> yuv(size_[0] * size_[1] * 3 / 2, 7);
  return MSTensor("yuv", DataType::kNumberTypeUInt8, {static_cast<int64_t>(yuv.size())}, yuv.data(), yuv.size());
}
}  // namespace mindspore
