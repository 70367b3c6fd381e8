// Any bytes as an image file. What is decoded is small, so that the headers get the time.
#include "image_file.h"

#include "errors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try {
    DecodeImage({data, data + size}, kOwnOrientation, 1 << 14);
  } catch (const FileError &) {
  }
  return 0;
}
