#ifndef ASCEND310_INFER_DVPP_H_
#define ASCEND310_INFER_DVPP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model_description.h"

// The decoder of an Ascend chip: JPEG bytes -> the image stretched to the network input as YUV420SP, which AIPP, a
// part of the model from then on, turns into normalised RGB. Its pixels differ a little from OpenCV's.
class Dvpp {
 public:
  virtual ~Dvpp() = default;

  // Height * width * 3 / 2 bytes. May be called from several threads. Throws FileError.
  virtual std::vector<char> Decode(const std::vector<uint8_t> &jpeg) = 0;
};

// Throws UsageError if this program was built without DVPP, or if the chip cannot make such an input.
std::unique_ptr<Dvpp> OpenDvpp(const ModelDescription &description, int device_id);

// An AIPP configuration that replaces the part of Preprocess after resizing.
std::string AippConfig(const ModelDescription &description);

#endif  // ASCEND310_INFER_DVPP_H_
