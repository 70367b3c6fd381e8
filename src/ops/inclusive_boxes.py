"""Box arithmetic of the zoo's two-stage detectors on tensors: corners name pixels, the last one included.

A box x1, y1, x2, y2 is x2 - x1 + 1 pixels wide ("+1 convention"). Leading axes are free and broadcast.
"""
from __future__ import annotations

import math
from typing import Sequence

from mindspore import Tensor, ops

LARGEST_STRETCH = math.log(1000 / 16)  # of a side in decoding: a tiny anchor cannot become larger than the picture


def encode(boxes: Tensor, anchors: Tensor, stds: Sequence[float]) -> Tensor:
    """Boxes (..., 4) relative to their anchors (Ren et al. 2015, equation 2) -> (..., 4) dx, dy, dw, dh over stds."""
    x, y, width, height = _centers(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centers(anchors)
    deltas = ops.stack(((x - anchor_x) / anchor_width, (y - anchor_y) / anchor_height,
                        ops.log(width / anchor_width), ops.log(height / anchor_height)), -1)
    return deltas / Tensor(stds, deltas.dtype)


def decode(deltas: Tensor, anchors: Tensor, stds: Sequence[float], image_size: Sequence[int]) -> Tensor:
    """The inverse of `encode`, clipped to an image of (height, width)."""
    anchor_x, anchor_y, anchor_width, anchor_height = _centers(anchors)
    dx, dy, dw, dh = _columns(deltas * Tensor(stds, deltas.dtype))
    # No side is shorter than the one pixel it ends on: boxes turned inside out are nothing an NMS can agree on.
    half_width = ops.relu(anchor_width * ops.exp(ops.clamp(dw, -LARGEST_STRETCH, LARGEST_STRETCH)) / 2 - 0.5)
    half_height = ops.relu(anchor_height * ops.exp(ops.clamp(dh, -LARGEST_STRETCH, LARGEST_STRETCH)) / 2 - 0.5)
    x, y = anchor_x + dx * anchor_width, anchor_y + dy * anchor_height
    height, width = image_size
    return ops.stack((ops.clamp(x - half_width, 0.0, float(width)), ops.clamp(y - half_height, 0.0, float(height)),
                      ops.clamp(x + half_width, 0.0, float(width)), ops.clamp(y + half_height, 0.0, float(height))),
                     -1)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of (..., N, 4) and (..., G, 4) -> (..., N, G)."""
    first, second = first.expand_dims(-2), second.expand_dims(-3)
    low, high = ops.maximum(first[..., :2], second[..., :2]), ops.minimum(first[..., 2:], second[..., 2:])
    sides = ops.relu(high - low + 1)
    inter = sides[..., 0] * sides[..., 1]
    return inter / (_area(first) + _area(second) - inter)


def _columns(rows: Tensor) -> tuple:
    return rows[..., 0], rows[..., 1], rows[..., 2], rows[..., 3]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0] + 1) * (boxes[..., 3] - boxes[..., 1] + 1)


def _centers(boxes: Tensor) -> tuple:
    x1, y1, x2, y2 = _columns(boxes)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1
