"""Ground truth -> targets of the losses: for anchors on the host, for proposals in the graph."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.faster_rcnn.anchors import inside

BACKGROUND, UNDECIDED = -1, -2  # owners of anchors that belong to no object


class AnchorSampler:
    """Samples the anchors on which the region proposal network is trained (Ren et al. 2015, section 3.1.2).

    An anchor that lies in the canvas is positive when its overlap with some object is at least positive_iou, or when
    no anchor overlaps that object better and the overlap is at least min_positive_iou; negative below negative_iou.
    `samples` of them are drawn, at most `positives` positive. It is done while images are prepared: there the number of
    objects is free, and every image has its own random numbers.
    """

    def __init__(self, anchors: Sequence[np.ndarray], input_size: Sequence[int], *, positive_iou: float,
                 negative_iou: float, min_positive_iou: float, samples: int, positives: int):
        everywhere = np.concatenate(anchors)
        self.index = np.flatnonzero(inside(everywhere, input_size)).astype(np.int32)
        self.anchors = everywhere[self.index]
        self.areas = np.prod(self.anchors[:, 2:] - self.anchors[:, :2] + 1, axis=1)
        self.positive_iou = positive_iou
        self.negative_iou = negative_iou
        self.min_positive_iou = min_positive_iou
        self.samples = samples
        self.positives = positives

    def __call__(self, boxes: np.ndarray, rng) -> dict:
        """boxes (G, 4) x1, y1, x2, y2 on the canvas, last pixel included. Returns

        "anchor_index" (S,) int32 into all anchors, "anchor_labels" (S,) int32 1 object, 0 background, -1 padding, and
        "anchor_boxes" (S, 4) float32, the object of each positive anchor, else 0.
        """
        owner = self.assign(boxes)
        positive = _drawn(np.flatnonzero(owner >= 0), self.positives, rng)
        negative = _drawn(np.flatnonzero(owner == BACKGROUND), self.samples - len(positive), rng)
        count = len(positive) + len(negative)
        index = np.zeros(self.samples, np.int32)
        index[:count] = self.index[np.concatenate([positive, negative])]
        labels = np.full(self.samples, -1, np.int32)
        labels[:len(positive)], labels[len(positive):count] = 1, 0
        owners = np.zeros((self.samples, 4), np.float32)
        owners[:len(positive)] = boxes[owner[positive]]
        return {"anchor_index": index, "anchor_labels": labels, "anchor_boxes": owners}

    def assign(self, boxes: np.ndarray) -> np.ndarray:
        """(N,) for the anchors in `self.index`: the number of their object, BACKGROUND or UNDECIDED."""
        best = np.zeros(len(self.anchors), np.float32)
        owner = np.zeros(len(self.anchors), np.int32)
        forced = []
        for number, box in enumerate(boxes):
            overlaps = self._overlaps(box)
            better = overlaps > best
            owner[better], best[better] = number, overlaps[better]
            highest = overlaps.max()
            if highest >= self.min_positive_iou:
                forced.append((np.flatnonzero(overlaps == highest), number))
        owner[best < self.positive_iou] = UNDECIDED
        owner[best < self.negative_iou] = BACKGROUND
        for anchors, number in forced:
            owner[anchors] = number
        return owner

    def _overlaps(self, box: np.ndarray) -> np.ndarray:
        sides = np.minimum(self.anchors[:, 2:], box[2:]) - np.maximum(self.anchors[:, :2], box[:2]) + 1
        inter = np.prod(np.maximum(sides, 0), axis=1)
        return inter / (self.areas + np.prod(box[2:] - box[:2] + 1) - inter)


def _drawn(candidates: np.ndarray, count: int, rng) -> np.ndarray:
    """At most `count` of the candidates."""
    return candidates if len(candidates) <= count else candidates[rng.choice(len(candidates), count, replace=False)]
