#include "preprocess.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>

namespace {

// Stretched to the whole input.
cv::Mat Stretched(const cv::Mat &image, const ModelDescription &description) {
  cv::Mat resized;
  cv::resize(image, resized, {description.width, description.height}, 0, 0, cv::INTER_LINEAR);
  return resized;
}

// As large as fits, in the upper left corner: `to_canvas` of src/faster_rcnn/transforms.py.
cv::Mat InCorner(const cv::Mat &image, const ModelDescription &description) {
  const double scale = std::min(static_cast<double>(description.height) / image.rows,
                                static_cast<double>(description.width) / image.cols);
  const auto side = [&](int old, int limit) { return std::max(1, std::min(limit, static_cast<int>(old * scale + 0.5))); };
  const int height = side(image.rows, description.height), width = side(image.cols, description.width);
  cv::Mat canvas(description.height, description.width, CV_8UC3, cv::Scalar::all(0));
  cv::Mat corner = canvas(cv::Rect(0, 0, width, height));
  cv::resize(image, corner, {width, height}, 0, 0, cv::INTER_LINEAR);
  return canvas;
}

// Its longer side as long as the input is wide, in the middle: `Window` of src/centernet/transforms.py.
cv::Mat InCenter(const cv::Mat &image, const ModelDescription &description) {
  const double factor = static_cast<double>(description.width) / std::max(image.rows, image.cols);
  const cv::Matx23d matrix(factor, 0, description.width / 2.0 - factor * (image.cols / 2.0),  //
                           0, factor, description.height / 2.0 - factor * (image.rows / 2.0));
  cv::Mat canvas;
  cv::warpAffine(image, canvas, matrix, {description.width, description.height}, cv::INTER_LINEAR);
  return canvas;
}

}  // namespace

std::vector<float> Preprocess(const cv::Mat &bgr, const ModelDescription &description) {
  cv::Mat canvas;
  if (!description.keep_ratio) {
    canvas = Stretched(bgr, description);
  } else {
    canvas = description.placement == "center" ? InCenter(bgr, description) : InCorner(bgr, description);
  }
  const size_t pixels = static_cast<size_t>(canvas.rows) * canvas.cols;
  std::vector<float> values(3 * pixels);
  for (int channel = 0; channel < 3; ++channel) {
    // 256 divisions instead of one per pixel.
    std::array<float, 256> normalized;
    for (int value = 0; value < 256; ++value) {
      normalized[value] = (static_cast<float>(value) - description.mean[channel]) / description.std[channel];
    }
    const uint8_t *source = canvas.data + (description.bgr ? channel : 2 - channel);
    float *target = values.data() + channel * pixels;
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      target[pixel] = normalized[source[3 * pixel]];
    }
  }
  return values;
}
