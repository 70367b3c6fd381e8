"""Ground truth -> targets of CenterNet's loss (section 3, "Preliminary"), in numpy."""
from __future__ import annotations

import math
from typing import NamedTuple, Sequence

import numpy as np

MIN_OVERLAP = 0.7  # least IoU with the object's box of a box whose corners are within the radius
SMALLEST = np.finfo(np.float32).eps


class Targets(NamedTuple):
    """The targets of one image; rows after the last object are 0."""

    heatmap: np.ndarray  # (C, H, W) float32: 1 at the centres, falling off around them
    cells: np.ndarray    # (max_objects,) int32: cell of the centre, counted row by row
    sizes: np.ndarray    # (max_objects, 2) float32: w, h in cells
    offsets: np.ndarray  # (max_objects, 2) float32: dx, dy of the centre from its cell's corner
    valid: np.ndarray    # (max_objects,) float32: 1 for objects


class TargetEncoder:
    """Draws objects on maps of (height, width) cells; `max_objects` of them have sizes and offsets."""

    def __init__(self, map_size: Sequence[int], num_classes: int, max_objects: int):
        self.height, self.width = map_size
        self.num_classes = num_classes
        self.max_objects = max_objects

    def __call__(self, boxes: np.ndarray, labels: np.ndarray) -> Targets:
        """boxes: (G, 4) x1, y1, x2, y2 in cells, clipped to the map here; labels: (G,) 0-based.

        A box without area after clipping is ignored (the zoo keeps boxes that have lost only one side).
        With more than max_objects objects, all are on the heat map, and the largest have sizes and offsets.
        """
        targets = Targets(np.zeros((self.num_classes, self.height, self.width), np.float32),
                          np.zeros(self.max_objects, np.int32), np.zeros((self.max_objects, 2), np.float32),
                          np.zeros((self.max_objects, 2), np.float32), np.zeros(self.max_objects, np.float32))
        last = np.array([self.width - 1, self.height - 1, self.width - 1, self.height - 1], np.float32)
        boxes = np.clip(boxes.astype(np.float32), 0, last)
        sizes, centers = boxes[:, 2:] - boxes[:, :2], (boxes[:, :2] + boxes[:, 2:]) / 2
        present = np.flatnonzero((sizes > 0).all(axis=1))
        for index in present:
            width, height = sizes[index]
            radius = gaussian_radius(math.ceil(height), math.ceil(width))
            draw_gaussian(targets.heatmap[labels[index]], centers[index].astype(int), radius)
        if len(present) > self.max_objects:
            present = present[np.argsort(-sizes[present].prod(axis=1), kind="stable")[:self.max_objects]]
        count, cells = len(present), centers[present].astype(np.int32)
        targets.cells[:count] = cells[:, 1] * self.width + cells[:, 0]
        targets.sizes[:count] = sizes[present]
        targets.offsets[:count] = centers[present] - cells
        targets.valid[:count] = 1
        return targets


def gaussian_radius(height: int, width: int) -> int:
    """Radius around the centre of an object of this size, in cells, rounded up.

    It is the smallest of three cases (both corners shifted outwards, both inwards, one each) in which a box overlaps
    by MIN_OVERLAP, from CornerNet (Law and Deng 2018, section 3.2); solved as CornerNet's code does, which takes the
    other root of two of them and so ends with the third.
    """
    total, area = height + width, height * width
    one_each = (total + math.sqrt(total ** 2 - 4 * area * (1 - MIN_OVERLAP) / (1 + MIN_OVERLAP))) / 2
    inwards = (2 * total + math.sqrt(4 * total ** 2 - 16 * (1 - MIN_OVERLAP) * area)) / 2
    b = -2 * MIN_OVERLAP * total
    outwards = (b + math.sqrt(b ** 2 + 16 * MIN_OVERLAP * (1 - MIN_OVERLAP) * area)) / 2
    return math.ceil(min(one_each, inwards, outwards))


def draw_gaussian(heatmap: np.ndarray, center: Sequence[int], radius: int) -> None:
    """Raise the map (H, W) to a Gaussian of peak 1 at (x, y), with a third of the radius as its deviation."""
    sigma = (2 * radius + 1) / 6
    line = np.exp(-np.arange(-radius, radius + 1) ** 2 / (2 * sigma ** 2))
    bell = np.outer(line, line)
    bell[bell < SMALLEST] = 0
    (x, y), (height, width) = center, heatmap.shape
    left, right, top, bottom = min(x, radius), min(width - x, radius + 1), min(y, radius), min(height - y, radius + 1)
    part = heatmap[y - top:y + bottom, x - left:x + right]
    np.maximum(part, bell[radius - top:radius + bottom, radius - left:radius + right], out=part)
