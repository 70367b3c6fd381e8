#ifndef ASCEND310_INFER_IMAGE_FILE_H_
#define ASCEND310_INFER_IMAGE_FILE_H_

#include <cstdint>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

constexpr int64_t kMaxPixels = 100000000;  // as in src/data/images.py

struct Image {
  cv::Mat bgr;          // uint8, three channels
  int orientation = 1;  // EXIF orientation that was applied, 1 = as stored
};

// Height and width as stored in a JPEG, PNG or BMP file that is whole; nothing is decoded. Throws ImageError for another
// format, a truncated or broken file, or one of more than max_pixels.
cv::Size CheckImage(const std::vector<uint8_t> &data, int64_t max_pixels = kMaxPixels);

// The picture in the bytes of a JPEG, PNG or BMP file; what src/data/images.py gives for them. Throws
// ImageError, as CheckImage does and where decoding fails.
Image DecodeImage(const std::vector<uint8_t> &data, bool ignore_orientation);

// The bytes of a file. Throws ImageError when it cannot be read.
std::vector<uint8_t> ReadBytes(const std::string &path);

#endif  // ASCEND310_INFER_IMAGE_FILE_H_
