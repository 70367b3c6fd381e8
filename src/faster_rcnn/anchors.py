"""The anchors of all levels of the pyramid."""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np

from src.faster_rcnn.config import STRIDES
from src.ops.anchors import grid_anchors


def pyramid_anchors(model) -> tuple[np.ndarray, ...]:
    """Per level (h * w * A, 4) float32 x1, y1, x2, y2 of the `model` section; not clipped to the input."""
    style, levels = model.style, []
    for stride in STRIDES:
        cells = [math.ceil(side / stride) for side in model.input_size]
        steps = [side // count for side, count in zip(model.input_size, cells)] if style.spread_anchors else None
        levels.append(grid_anchors(cells, stride, model.anchor_scales, model.anchor_ratios, steps=steps,
                                   centered=style.centered_anchors, rounded=style.rounded_anchors))
    return tuple(levels)


def inside(anchors: np.ndarray, input_size: Sequence[int]) -> np.ndarray:
    """(N,) bool: the anchor lies in an input of (height, width) entirely; the others are not trained."""
    height, width = input_size
    return ((anchors[:, :2] >= 0).all(axis=1) & (anchors[:, 2] <= width - 1) & (anchors[:, 3] <= height - 1))
