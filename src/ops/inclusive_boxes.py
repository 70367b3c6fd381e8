"""Box arithmetic of the zoo's two-stage detectors on tensors: corners are pixels, the last one included.

A box x1, y1, x2, y2 is x2 - x1 + 1 pixels wide ("+1 convention"). Leading axes are free and broadcast. In the usual
convention x2 and y2 are the end of the last pixel, larger by 1; everything else is the same.
"""
from __future__ import annotations

import math
from typing import Sequence

from mindspore import Tensor, ops

LARGEST_STRETCH = math.log(1000 / 16)  # limit of dw and dh: a tiny anchor cannot become larger than the image


def encode(boxes: Tensor, anchors: Tensor, stds: Sequence[float]) -> Tensor:
    """Boxes (..., 4) relative to their anchors (Ren et al. 2015, equation 2) -> (..., 4) dx, dy, dw, dh, each / std."""
    x, y, width, height = _centers(boxes)
    anchor_x, anchor_y, anchor_width, anchor_height = _centers(anchors)
    deltas = ops.stack(((x - anchor_x) / anchor_width, (y - anchor_y) / anchor_height,
                        ops.log(width / anchor_width), ops.log(height / anchor_height)), -1)
    return deltas / Tensor(stds, deltas.dtype)


def decode(deltas: Tensor, anchors: Tensor, stds: Sequence[float], image_size: Sequence,
           end_offset: float = 0.0, least_side: float = 1.0) -> Tensor:
    """The inverse of `encode`, clipped to an image of size (height, width), numbers or tensors that broadcast.

    end_offset: added to x2 and y2 for clipping; with 1 no box reaches beyond the last pixel of the image, with 0 a box
    may reach one pixel beyond. least_side: shorter sides are widened to it.
    """
    anchor_x, anchor_y, anchor_width, anchor_height = _centers(anchors)
    dx, dy, dw, dh = _columns(deltas * Tensor(stds, deltas.dtype))
    least_half = (least_side - 1) / 2  # half the distance between the centres of the first and the last pixel
    half_width = anchor_width * ops.exp(ops.clamp(dw, -LARGEST_STRETCH, LARGEST_STRETCH)) / 2 - 0.5
    half_height = anchor_height * ops.exp(ops.clamp(dh, -LARGEST_STRETCH, LARGEST_STRETCH)) / 2 - 0.5
    half_width, half_height = ops.maximum(half_width, least_half), ops.maximum(half_height, least_half)
    x, y = anchor_x + dx * anchor_width, anchor_y + dy * anchor_height
    height, width = image_size
    return ops.stack((_clipped(x - half_width, width), _clipped(y - half_height, height),
                      _clipped(x + half_width + end_offset, width) - end_offset,
                      _clipped(y + half_height + end_offset, height) - end_offset), -1)


def wider_than(boxes: Tensor, least: float) -> Tensor:
    """(...,) bool: whether both sides of the boxes (..., 4) have at least this length."""
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    return ops.logical_and(sides[..., 0] >= least, sides[..., 1] >= least)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of (..., N, 4) and (..., G, 4) -> (..., N, G)."""
    x1, y1, x2, y2 = _columns(first.expand_dims(-2))
    other_x1, other_y1, other_x2, other_y2 = _columns(second.expand_dims(-3))
    width = ops.relu(ops.minimum(x2, other_x2) - ops.maximum(x1, other_x1) + 1)
    height = ops.relu(ops.minimum(y2, other_y2) - ops.maximum(y1, other_y1) + 1)
    inter = width * height
    areas = (x2 - x1 + 1) * (y2 - y1 + 1) + (other_x2 - other_x1 + 1) * (other_y2 - other_y1 + 1)
    return inter / (areas - inter)


def _clipped(corners: Tensor, limit) -> Tensor:
    return ops.minimum(ops.relu(corners), limit)


def _columns(rows: Tensor) -> tuple[Tensor, ...]:
    return rows[..., 0], rows[..., 1], rows[..., 2], rows[..., 3]


def _centers(boxes: Tensor) -> tuple[Tensor, ...]:
    x1, y1, x2, y2 = _columns(boxes)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1
