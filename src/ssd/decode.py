"""Raw SSD outputs + image size -> detections in pixels of the original image (numpy)."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.ops.detections import Detections
from src.ops.nms import classwise_nms


def decode(boxes: np.ndarray, scores: np.ndarray, image_size: Sequence[int], *, min_score: float,
           nms_threshold: float, max_boxes: int, max_per_image: int | None = None, **suppression) -> Detections:
    """boxes (N, 4) y1, x1, y2, x2 in 0..1 and scores (N, 1 + classes) of one image of (height, width) pixels.

    max_boxes is the limit per class (as in the old zoo); max_per_image, when given, the limit over all classes.
    suppression: further arguments of `classwise_nms`.
    """
    height, width = image_size
    pixels = boxes * np.array([height, width, height, width], np.float32)
    index, labels = classwise_nms(pixels, scores[:, 1:], min_score, nms_threshold, max_boxes, **suppression)
    kept = scores[index, labels + 1]
    order = np.argsort(-kept, kind="stable")[:max_per_image]
    return Detections(boxes=pixels[index[order]][:, [1, 0, 3, 2]].astype(np.float32),
                      scores=kept[order].astype(np.float32), labels=labels[order].astype(np.int32))
