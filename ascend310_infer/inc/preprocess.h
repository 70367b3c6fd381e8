#ifndef ASCEND310_INFER_PREPROCESS_H_
#define ASCEND310_INFER_PREPROCESS_H_

#include <opencv2/core.hpp>
#include <vector>

#include "model_description.h"

// Size in the input of an image of this size that is stretched or lies in the corner: `fit` of
// src/faster_rcnn/transforms.py.
cv::Size SizeInInput(const cv::Size &image, const ModelDescription &description);

// uint8 image (blue, green, red) -> the bytes of the model's input: what `Preprocess` returns, or for a model with its
// post-processing the resized image (height, width, 3), red, green, blue, in its corner or middle; black beside it.
std::vector<char> InputBytes(const cv::Mat &bgr, const ModelDescription &description);

// uint8 image (blue, green, red) -> values of (3, height, width), the same bits as the family's transforms.py:
// resized, then (value - mean) / std in float32; beside the image the value of black, or 0.
std::vector<float> Preprocess(const cv::Mat &bgr, const ModelDescription &description);

#endif  // ASCEND310_INFER_PREPROCESS_H_
