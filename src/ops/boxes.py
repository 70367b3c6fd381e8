"""Box arithmetic on numpy arrays in any unit."""
from __future__ import annotations

import numpy as np


def corners_from_centers(boxes: np.ndarray) -> np.ndarray:
    """(N, 4) centre-first boxes (cy, cx, h, w) -> corner boxes (y1, x1, y2, x2); or x before y in both."""
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of (G, 4) and (N, 4) corner boxes -> (G, N); 0 if both boxes are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=2)
    area_first = np.prod(first[:, 2:] - first[:, :2], axis=1)
    area_second = np.prod(second[:, 2:] - second[:, :2], axis=1)
    union = area_first[:, None] + area_second[None] - inter
    return inter / np.maximum(union, np.finfo(inter.dtype).tiny)
