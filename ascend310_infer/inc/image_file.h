#ifndef ASCEND310_INFER_IMAGE_FILE_H_
#define ASCEND310_INFER_IMAGE_FILE_H_

#include <cstdint>
#include <opencv2/core.hpp>
#include <string>
#include <vector>

constexpr int kMaxPixels = 100000000;  // as in src/data/images.py
constexpr int kOwnOrientation = 0;     // the one that the file asks for

struct Image {
  cv::Mat bgr;          // uint8, three channels
  int orientation = 1;  // EXIF orientation that was applied, 1 = as stored
};

// Height and width as stored in a JPEG, PNG or BMP file that is whole; nothing is decoded. Throws FileError for another
// format, a truncated or broken file, one of more than max_pixels, or a JPEG of too many scans.
cv::Size CheckImage(const std::vector<uint8_t> &data, int max_pixels);

// The image in the bytes of a JPEG, PNG or BMP file, turned by an EXIF orientation, which can be kOwnOrientation; what
// src/data/images.py gives for them. Throws FileError, as CheckImage does and where decoding fails.
Image DecodeImage(const std::vector<uint8_t> &data, int orientation, int max_pixels);

// The largest file that can hold an image of max_pixels: 16 bits of four channels, not compressed, and other content.
uint64_t MaxBytes(int max_pixels);

#endif  // ASCEND310_INFER_IMAGE_FILE_H_
