"""Best peaks of one or more views of an image -> detections in its pixels (numpy)."""
from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from src.ops.detections import Detections
from src.ops.nms import soft_nms


class Geometry(NamedTuple):
    """Position of a view's cells in the image: pixels = cells * factor + shift."""

    factor: float
    shift: np.ndarray  # (2,) x, y


def decode(peaks: Sequence[np.ndarray], geometries: Sequence[Geometry], count: int, soft: bool) -> Detections:
    """peaks: per view (N, 6), x1, y1, x2, y2 in cells, score, class. soft: soft-NMS within each class.

    Returns the best `count` of all views with scores above 0. Boxes are not clipped at the border of the
    image.
    """
    boxes = np.concatenate([view[:, :4] * geometry.factor + np.tile(geometry.shift, 2)
                            for view, geometry in zip(peaks, geometries)])
    scores = np.concatenate([view[:, 4] for view in peaks]).astype(np.float64)
    labels = np.concatenate([view[:, 5] for view in peaks]).astype(np.int32)
    if soft:
        for label in np.unique(labels):
            own = labels == label
            scores[own] = soft_nms(boxes[own], scores[own])
    order = np.argsort(-scores, kind="stable")[:count]
    order = order[scores[order] > 0]
    return Detections(boxes=boxes[order].astype(np.float32), scores=scores[order].astype(np.float32),
                      labels=labels[order])
