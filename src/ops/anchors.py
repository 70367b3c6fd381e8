"""Prior boxes: the fixed boxes that detectors refine."""
from __future__ import annotations

import math
from itertools import product
from typing import Sequence

import numpy as np


def ssd_prior_boxes(image_size: Sequence[int], feature_sizes: Sequence[Sequence[int]],
                    steps: Sequence[Sequence[float]], min_scale: float, max_scale: float,
                    aspect_ratios: Sequence[Sequence[float]]) -> np.ndarray:
    """Prior boxes of SSD (section 2.2), level by level, row by row.

    image_size: height, width in pixels. feature_sizes, steps: (height, width) of each map in cells, and of a cell
    in pixels. aspect_ratios: per level the ratios besides 1; an empty first level gets the paper's three small boxes.
    Returns (N, 4) float32, cy, cx, h, w relative to the image; not clipped.
    """
    levels = len(feature_sizes)
    scales = [min_scale + (max_scale - min_scale) / (levels - 1) * level for level in range(levels)] + [1.0]
    boxes = []
    for level, (rows, columns) in enumerate(feature_sizes):
        scale, ratios = scales[level], aspect_ratios[level]
        if level == 0 and not ratios:
            sizes = [(0.1, 0.1), _stretched(scale, 2), _stretched(scale, 0.5)]
        else:
            sizes = [(scale, scale)]
            for ratio in ratios:
                sizes += [_stretched(scale, ratio), _stretched(scale, 1 / ratio)]
            between = math.sqrt(scale * scales[level + 1])
            sizes.append((between, between))
        # Cells per image side, in the order of operations that gives the zoo's float32 values bit for bit.
        cells = [side / step for side, step in zip(image_size, steps[level])]
        for row, column in product(range(rows), range(columns)):
            cy, cx = (row + 0.5) / cells[0], (column + 0.5) / cells[1]
            boxes += [(cy, cx, height, width) for width, height in sizes]
    return np.array(boxes, dtype=np.float32)


def _stretched(scale: float, ratio: float) -> tuple:
    """Width and height of a box of area scale squared whose width is `ratio` times its height."""
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
