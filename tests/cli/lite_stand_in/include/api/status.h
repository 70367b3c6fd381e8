#pragma once

#include <cstdint>
#include <string>

namespace mindspore {
enum StatusCode : uint32_t { kSuccess = 0, kLiteError = 0xFFFFFFFF };

class Status {
 public:
  Status(StatusCode code, const std::string &message = "") : code_(code), message_(message) {}
  bool operator==(StatusCode code) const { return code_ == code; }
  bool operator!=(StatusCode code) const { return code_ != code; }
  std::string ToString() const { return message_; }

 private:
  StatusCode code_;
  std::string message_;
};
}  // namespace mindspore
