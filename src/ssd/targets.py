"""Ground truth -> targets of SSD's loss (section 2.2, "Matching strategy"), in numpy."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.ops.anchors import PriorBoxes
from src.ops.boxes import box_iou

FORCED = 2.0  # larger than every IoU, for the best prior of an object


class TargetEncoder:
    """Assigns ground truth to priors.

    match_threshold: overlap above which a prior is positive. prior_scaling: the "variances" of centre and size.
    """

    def __init__(self, priors: PriorBoxes, match_threshold: float, prior_scaling: Sequence[float]):
        self.priors, self.corners = priors
        self.match_threshold = match_threshold
        self.prior_scaling = prior_scaling

    def __call__(self, boxes: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """boxes: (G, 4) float32 y1, x1, y2, x2 relative to the image; labels: (G,) 0-based.

        Returns deltas (N, 4) float32, 0 where unmatched, and classes (N,) int32, 0 background, else label + 1.
        The best prior of each object is assigned to it; if two objects have the same best prior, the first gets it.
        """
        deltas = np.zeros((len(self.priors), 4), np.float32)
        classes = np.zeros(len(self.priors), np.int32)
        if not len(boxes):
            return deltas, classes
        overlaps = box_iou(boxes.astype(np.float32), self.corners)
        overlaps[np.arange(len(boxes)), overlaps.argmax(axis=1)] = FORCED
        owner = overlaps.argmax(axis=0)
        matched = np.flatnonzero(overlaps[owner, np.arange(len(owner))] > self.match_threshold)
        classes[matched] = labels[owner[matched]] + 1
        deltas[matched] = self.encode(boxes[owner[matched]], self.priors[matched])
        return deltas, classes

    def matches(self, boxes: np.ndarray) -> np.ndarray:
        """(G,) number of priors that overlap each box more than the threshold and no other box more; boxes as above."""
        overlaps = box_iou(boxes.astype(np.float32), self.corners)
        owner = overlaps.argmax(axis=0)
        above = overlaps[owner, np.arange(len(owner))] > self.match_threshold
        return np.bincount(owner[above], minlength=len(boxes))

    def encode(self, boxes: np.ndarray, priors: np.ndarray) -> np.ndarray:
        """Corner boxes relative to their priors (equation 2), (M, 4) -> (M, 4) dy, dx, dh, dw."""
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        sizes = boxes[:, 2:] - boxes[:, :2]
        shift = (centers - priors[:, :2]) / (priors[:, 2:] * self.prior_scaling[0])
        stretch = np.log(np.maximum(sizes / priors[:, 2:], 1e-6)) / self.prior_scaling[1]
        return np.concatenate([shift, stretch], axis=1).astype(np.float32)
