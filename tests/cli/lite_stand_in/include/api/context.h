#pragma once

#include <memory>
#include <string>
#include <vector>

namespace mindspore {
class DeviceInfoContext {
 public:
  virtual ~DeviceInfoContext() = default;
  virtual std::string Described() const = 0;  // the stand-in's own
};

class Context {
 public:
  void SetThreadNum(int32_t thread_num) { thread_num_ = thread_num; }
  int32_t GetThreadNum() const { return thread_num_; }
  std::vector<std::shared_ptr<DeviceInfoContext>> &MutableDeviceInfo() { return devices_; }

 private:
  int32_t thread_num_ = 0;
  std::vector<std::shared_ptr<DeviceInfoContext>> devices_;
};

class CPUDeviceInfo : public DeviceInfoContext {
 public:
  void SetEnableFP16(bool) {}
  std::string Described() const override { return "CPU"; }
};

class AscendDeviceInfo : public DeviceInfoContext {
 public:
  void SetDeviceID(uint32_t device_id) { device_id_ = device_id; }
  void SetPrecisionMode(const std::string &mode) { mode_ = mode; }
  void SetInsertOpConfigPath(const std::string &path) { aipp_ = path; }
  std::string Described() const override {
    return "Ascend " + std::to_string(device_id_) + " " + mode_ + (aipp_.empty() ? "" : " " + aipp_);
  }

 private:
  uint32_t device_id_ = 0;
  std::string mode_, aipp_;
};
}  // namespace mindspore
