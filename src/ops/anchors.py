"""Priors: the fixed boxes that detectors refine."""
from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple, Optional, Sequence

import numpy as np

from src.ops.boxes import corners_from_centers

OCTAVE_SCALE = 4


class PriorBoxes(NamedTuple):
    """The same boxes in two forms, float32, as fractions of the image, not clipped.

    Each form is computed in higher precision and rounded once: the last bit can decide which of two boxes overlaps an
    object more, and the result must be the zoo's.
    """

    centers: np.ndarray  # (N, 4) cy, cx, h, w
    corners: np.ndarray  # (N, 4) y1, x1, y2, x2


def ssd_prior_boxes(input_size: Sequence[int], feature_sizes: Sequence[Sequence[int]],
                    steps: Sequence[Sequence[float]], min_scale: float, max_scale: float,
                    aspect_ratios: Sequence[Sequence[float]], scales: Optional[Sequence[float]] = None) -> PriorBoxes:
    """Priors of SSD (section 2.2), level by level, row by row.

    input_size: height, width in pixels. feature_sizes, steps: (height, width) of each map in cells, and of one cell
    in pixels. aspect_ratios: for each level the ratios besides 1; an empty first level uses the paper's three small
    boxes. scales: one for each level and one more, instead of min_scale and max_scale; no side is then longer than the
    image's.
    """
    levels, longest = len(feature_sizes), 1 if scales else math.inf
    scales = scales or [min_scale + (max_scale - min_scale) / (levels - 1) * level for level in range(levels)] + [1.0]
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
        # Cells per image side; this order of operations gives the zoo's float32 values bit for bit.
        cells = [side / step for side, step in zip(input_size, steps[level])]
        for row, column in product(range(rows), range(columns)):
            cy, cx = (row + 0.5) / cells[0], (column + 0.5) / cells[1]
            boxes += [(cy, cx, min(height, longest), min(width, longest)) for width, height in sizes]
    centers = np.array(boxes)
    return PriorBoxes(centers.astype(np.float32), corners_from_centers(centers).astype(np.float32))


def octave_prior_boxes(input_size: Sequence[int], feature_sizes: Sequence[Sequence[int]],
                       steps: Sequence[Sequence[float]]) -> PriorBoxes:
    """Priors of RetinaNet (Lin et al. 2017, section 4), level by level, row by row.

    The smaller of the two sizes per octave is OCTAVE_SCALE steps; each comes as a square, twice as wide, twice as high.
    The arguments are explained at `ssd_prior_boxes`. Computed in float32, as in the zoo, where sizes that should be
    equal differ in the last bit.
    """
    scales = np.array([1, math.sqrt(2)], np.float32)
    stretch = np.sqrt(np.array([1, 2, 0.5], np.float32))[:, None]
    shapes = np.stack([scales / stretch, scales * stretch], axis=-1).reshape(-1, 2)
    levels = []
    for (rows, columns), step in zip(feature_sizes, np.array(steps, np.float32)):
        cells = np.stack(tuple(np.mgrid[:rows, :columns]), axis=-1).astype(np.float32)
        boxes = np.empty((rows, columns, len(shapes), 4), np.float32)
        boxes[..., :2] = (cells * step + step / 2)[:, :, None]
        boxes[..., 2:] = shapes * (OCTAVE_SCALE * step)
        levels.append(boxes.reshape(-1, 4))
    boxes, sides = np.concatenate(levels), np.array([*input_size, *input_size], np.float32)
    return PriorBoxes(boxes / sides, corners_from_centers(boxes) / sides)


def grid_anchors(feature_size: Sequence[int], stride: int, scales: Sequence[float], ratios: Sequence[float], *,
                 steps: Optional[Sequence[int]] = None, centered: bool = True, rounded: bool = True) -> np.ndarray:
    """Anchors of one map of a region proposal network (Ren et al. 2015, section 3.1.1), row by row, ratio by ratio.

    feature_size: (rows, columns). scales: sizes divided by the stride. ratios: height / width. steps: distance of cells
    in pixels, down and across; None = the stride. centered: anchors are centred on the middle of a cell's pixels,
    (stride - 1) / 2, otherwise on the upper left corner of the first pixel. rounded: to whole pixels.
    Returns (rows * columns * A, 4) float32 x1, y1, x2, y2 in pixels, the last pixel included.
    """
    height_factors = np.sqrt(np.asarray(ratios, np.float64))[:, None]
    widths = (stride / height_factors * np.asarray(scales)).ravel()
    heights = (stride * height_factors * np.asarray(scales)).ravel()
    # The last pixel of a box ends at its corner, so its index is one lower.
    middle, last = ((stride - 1) / 2, 0) if centered else (0, 1)
    half_widths, half_heights = (widths - 1 + last) / 2, (heights - 1 + last) / 2
    base = np.stack([middle - half_widths, middle - half_heights, middle + half_widths, middle + half_heights], axis=-1)
    base = (base.round() if rounded else base) - [0, 0, last, last]
    rows, columns = np.mgrid[:feature_size[0], :feature_size[1]] * np.reshape(steps or (stride, stride), (2, 1, 1))
    shifts = np.stack([columns, rows, columns, rows], axis=-1)
    return (shifts[:, :, None] + base).reshape(-1, 4).astype(np.float32)


def _stretched(scale: float, ratio: float) -> tuple[float, float]:
    """Width and height of a box with area scale^2 and width = ratio * height."""
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
