#include "preprocess.h"

#include <algorithm>
#include <array>
#include <opencv2/imgproc.hpp>

namespace {

cv::Mat Resized(const cv::Mat &image, const ModelDescription &description) {
  cv::Mat resized;
  cv::resize(image, resized, SizeInInput(image.size(), description), 0, 0, cv::INTER_LINEAR);
  return resized;
}

// Centred, with the longer side as long as the input is wide: `Window` of src/centernet/transforms.py.
cv::Mat InCenter(const cv::Mat &image, const ModelDescription &description) {
  const double factor = static_cast<double>(description.width) / std::max(image.rows, image.cols);
  const cv::Matx23d matrix(factor, 0, description.width / 2.0 - factor * (image.cols / 2.0),  //
                           0, factor, description.height / 2.0 - factor * (image.rows / 2.0));
  cv::Mat canvas;
  cv::warpAffine(image, canvas, matrix, {description.width, description.height}, cv::INTER_LINEAR);
  return canvas;
}

// The resized image, of the input's size where it lies in the middle.
cv::Mat Placed(const cv::Mat &bgr, const ModelDescription &description) {
  cv::Mat image = bgr;
  if (description.resized_as == "float32") {
    bgr.convertTo(image, CV_32F);
  }
  const bool centered = description.keep_ratio && description.placement == "center";
  return centered ? InCenter(image, description) : Resized(image, description);
}

// Writes a channel into the upper left corner of rows that are `width` long.
template <typename Value, typename Normalize>
void WriteChannel(const cv::Mat &placed, int channel, int64_t width, float *target, const Normalize &normalize) {
  for (int row = 0; row < placed.rows; ++row) {
    const Value *source = placed.ptr<Value>(row) + channel;
    for (int column = 0; column < placed.cols; ++column) {
      target[row * width + column] = normalize(source[3 * column]);
    }
  }
}

}  // namespace

cv::Size SizeInInput(const cv::Size &image, const ModelDescription &description) {
  double down = static_cast<double>(description.height) / image.height;
  double across = static_cast<double>(description.width) / image.width;
  if (description.keep_ratio) {
    const auto [shorter, longer] = description.resize_sides;
    down = std::min(down, across);
    if (shorter > 0) {
      down = std::min({down, static_cast<double>(shorter) / std::min(image.height, image.width),
                       static_cast<double>(longer) / std::max(image.height, image.width)});
    }
    across = down;
  }
  const double rounding = description.keep_ratio && description.resized_as == "float32" ? 0 : 0.5;
  const auto side = [&](int old, double scale, int limit) {
    return std::max(1, std::min(limit, static_cast<int>(old * scale + rounding)));
  };
  return {side(image.width, across, description.width), side(image.height, down, description.height)};
}

std::vector<char> InputBytes(const cv::Mat &bgr, const ModelDescription &description) {
  if (!description.with_postprocess) {
    const std::vector<float> values = Preprocess(bgr, description);
    const char *bytes = reinterpret_cast<const char *>(values.data());
    return {bytes, bytes + values.size() * sizeof(float)};
  }
  cv::Mat placed = Placed(bgr, description);
  cv::cvtColor(placed, placed, cv::COLOR_BGR2RGB);
  cv::Mat canvas = cv::Mat::zeros(description.height, description.width, placed.type());
  placed.copyTo(canvas(cv::Rect(0, 0, placed.cols, placed.rows)));
  const char *bytes = reinterpret_cast<const char *>(canvas.data);
  return {bytes, bytes + canvas.total() * canvas.elemSize()};
}

std::vector<float> Preprocess(const cv::Mat &bgr, const ModelDescription &description) {
  const cv::Mat placed = Placed(bgr, description);
  const size_t pixels = static_cast<size_t>(description.height) * description.width;
  std::vector<float> values(3 * pixels);
  for (int channel = 0; channel < 3; ++channel) {
    const auto normalized = [&](float value) { return (value - description.mean[channel]) / description.std[channel]; };
    float *target = values.data() + channel * pixels;
    if (description.padding == "black") {
      std::fill_n(target, pixels, normalized(0));
    }
    const int source = description.bgr ? channel : 2 - channel;
    if (placed.depth() == CV_32F) {
      WriteChannel<float>(placed, source, description.width, target, normalized);
      continue;
    }
    // 256 divisions instead of one per pixel.
    std::array<float, 256> of_byte;
    for (int value = 0; value < 256; ++value) {
      of_byte[value] = normalized(static_cast<float>(value));
    }
    WriteChannel<uint8_t>(placed, source, description.width, target, [&](uint8_t value) { return of_byte[value]; });
  }
  return values;
}
