#ifndef ASCEND310_INFER_MODEL_DESCRIPTION_H_
#define ASCEND310_INFER_MODEL_DESCRIPTION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

// The description file that export.py writes: how to prepare an image, and the outputs of the model.
struct ModelDescription {
  int batch_size = 1;
  int height = 0;
  int width = 0;
  bool keep_ratio = false;
  std::string placement = "corner";   // of an image that keeps its ratio: corner (upper left) or center
  std::array<int, 2> resize_sides{};  // in the corner: length of the shorter side, limit of the longer; 0: as fits
  std::string resized_as = "uint8";   // or float32
  std::string padding = "black";      // where there is no image; or mean, the colour that becomes 0
  bool bgr = false;                   // order of the channels
  std::array<float, 3> mean{};        // in that order, of values 0 to 255
  std::array<float, 3> std{};
  bool image_sizes = false;           // a further input is the height and width that the image has in the first
  bool with_postprocess = false;      // takes resized images as they are, channels last, and their original sizes
  std::vector<std::string> outputs;   // names; empty: unknown

  std::vector<int64_t> InputShape() const {
    return with_postprocess ? std::vector<int64_t>{batch_size, height, width, 3}
                            : std::vector<int64_t>{batch_size, 3, height, width};
  }
  std::string InputType() const { return with_postprocess && resized_as != "float32" ? "uint8" : "float32"; }
};

// Throws InferError for a file that is missing or lacks an entry.
ModelDescription ReadDescription(const std::string &path);

// Throws UsageError that names an invalid entry, or a missing one if no description file was read.
void CheckDescription(const ModelDescription &description);

// The one of `choices` that equals the text, ignoring case. Throws UsageError.
std::string OneOf(const std::string &text, const std::vector<std::string> &choices);

#endif  // ASCEND310_INFER_MODEL_DESCRIPTION_H_
