// DVPP through the data part of MindSpore Lite.
#include "dvpp.h"

#include <mutex>

#include "errors.h"
#include "include/api/status.h"
#include "include/api/types.h"
#include "include/dataset/execute.h"
#include "include/dataset/vision_ascend.h"

namespace {

namespace dataset = mindspore::dataset;

class LiteDvpp : public Dvpp {
 public:
  LiteDvpp(const ModelDescription &description, int device_id)
      : bytes_(static_cast<size_t>(description.height) * description.width * 3 / 2),
        execute_(std::make_shared<dataset::vision::DvppDecodeResizeJpeg>(std::vector<uint32_t>{
                     static_cast<uint32_t>(description.height), static_cast<uint32_t>(description.width)}),
                 dataset::MapTargetDevice::kAscend310, static_cast<uint32_t>(device_id)) {}

  std::vector<char> Decode(const std::vector<uint8_t> &jpeg) override {
    const mindspore::MSTensor file("file", mindspore::DataType::kNumberTypeUInt8,
                                   {static_cast<int64_t>(jpeg.size())}, jpeg.data(), jpeg.size());
    mindspore::MSTensor image;
    const std::lock_guard<std::mutex> lock(mutex_);
    const mindspore::Status status = execute_(file, &image);
    if (status != mindspore::kSuccess) {
      throw FileError("DVPP cannot decode it: " + status.ToString());
    }
    const std::shared_ptr<const void> data = image.Data();
    if (image.DataSize() != bytes_) {
      throw FileError("DVPP gave " + std::to_string(image.DataSize()) + " bytes, " + std::to_string(bytes_) +
                       " are an image of the network's size");
    }
    const char *first = static_cast<const char *>(data.get());
    return {first, first + bytes_};
  }

 private:
  size_t bytes_;
  dataset::Execute execute_;
  std::mutex mutex_;
};

}  // namespace

std::unique_ptr<Dvpp> OpenDvpp(const ModelDescription &description, int device_id) {
  if (description.width % 16 != 0 || description.height % 2 != 0) {
    throw UsageError("DVPP gives widths that are a multiple of 16 and even heights, the network takes " +
                     std::to_string(description.width) + " x " + std::to_string(description.height) +
                     "; leave out --cpu_dvpp DVPP");
  }
  return std::make_unique<LiteDvpp>(description, device_id);
}
