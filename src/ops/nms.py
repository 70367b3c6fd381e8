"""Non-maximum suppression on numpy arrays."""
from __future__ import annotations

from typing import Optional

import numpy as np

from src.ops.detections import Detections

MOST_IN_PAIRS = 8192  # up to this number of boxes all pairwise overlaps are kept in memory (0.5 GB)


def classwise_nms(boxes: np.ndarray, scores: np.ndarray, min_score: float, iou_threshold: float,
                  max_per_class: int, candidates_per_class: Optional[int] = None,
                  end_offset: int = 1) -> tuple[np.ndarray, ...]:
    """Greedy suppression within each class, for all classes at once; all classes have the same boxes, as in SSD.

    boxes: (N, 4) corners in pixels. scores: (N, C). A box counts for a class if its score is above min_score. It is
    suppressed by a box of the class with a higher score if their IoU is above iou_threshold. The best max_per_class
    boxes of a class are kept.
    candidates_per_class: number of best boxes of a class that are considered; None = all. end_offset: added to the ends
    of boxes for the IoU; 1 is the "+1 pixel" convention of the old zoo's evaluation.
    Returns (box index (K,), class (K,)), class by class, best first.

    One step picks the best remaining box of every class: 100 steps on (C, N) arrays instead of C x 100 steps on N.
    Since all classes have the same boxes, the IoU of all pairs is computed once, unless there are so many boxes that
    comparing only the picked ones is cheaper.
    """
    candidates = np.flatnonzero((scores > min_score).any(axis=1))
    classes = np.flatnonzero((scores > min_score).any(axis=0))
    if not len(candidates):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    boxes = boxes[candidates].astype(np.float32)
    few = len(candidates) <= min(len(classes) * max_per_class, MOST_IN_PAIRS)
    pairs = _overlapping(boxes, boxes, iou_threshold, end_offset) if few else np.empty(0)
    remaining = np.ascontiguousarray(scores[np.ix_(candidates, classes)].T, dtype=np.float32)
    remaining[remaining <= min_score] = -np.inf
    if candidates_per_class and candidates_per_class < len(candidates):
        last = np.partition(remaining, -candidates_per_class, axis=1)[:, -candidates_per_class]
        remaining[remaining < last[:, None]] = -np.inf
    rows = np.arange(len(classes))
    picked_class, picked_box, picked_rank = [], [], []
    for rank in range(max_per_class):
        best = remaining.argmax(axis=1)
        found = remaining[rows, best] > -np.inf
        if not found.all():
            remaining, rows, best, classes = remaining[found], rows[:found.sum()], best[found], classes[found]
            if not len(rows):
                break
        picked_class.append(classes)
        picked_box.append(candidates[best])
        picked_rank.append(np.full(len(rows), rank))
        suppressed = pairs[best] if few else _overlapping(boxes[best], boxes, iou_threshold, end_offset)
        np.copyto(remaining, -np.inf, where=suppressed)
        remaining[rows, best] = -np.inf
    all_classes, all_boxes = np.concatenate(picked_class), np.concatenate(picked_box)
    order = np.lexsort((np.concatenate(picked_rank), all_classes))
    return all_boxes[order], all_classes[order]


def suppress_across_classes(found: Detections, iou_threshold: float) -> Detections:
    """Drop every detection whose IoU with one of a higher score, of any class, is above iou_threshold."""
    kept, _ = classwise_nms(found.boxes, found.scores[:, None], -1, iou_threshold, len(found), end_offset=0)
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept],
                      None if found.masks is None else [found.masks[index] for index in kept])


def _overlapping(boxes: np.ndarray, others: np.ndarray, threshold: float, end_offset: int) -> np.ndarray:
    """(M, N) bool: whether the IoU of boxes (M, 4) and others (N, 4) is above the threshold."""
    low, high = boxes[:, None, :2], boxes[:, None, 2:] + end_offset
    other_low, other_high = others[:, :2], others[:, 2:] + end_offset
    height = np.minimum(high[..., 0], other_high[:, 0])
    height -= np.maximum(low[..., 0], other_low[:, 0])
    np.maximum(height, 0, out=height)
    inter = np.minimum(high[..., 1], other_high[:, 1])
    inter -= np.maximum(low[..., 1], other_low[:, 1])
    np.maximum(inter, 0, out=inter)
    inter *= height
    # inter / (a + b - inter) > t, without division: inter (1 + t) > t (a + b).
    np.add(np.prod(high - low, axis=2), np.prod(other_high - other_low, axis=1), out=height)
    height *= np.float32(threshold)
    inter *= np.float32(1 + threshold)
    return inter > height


def soft_nms(boxes: np.ndarray, scores: np.ndarray, sigma: float = 0.5, min_score: float = 0.001) -> np.ndarray:
    """Lower scores by the overlap with boxes of higher score (Bodla et al. 2017, section 3, Gaussian penalty).

    boxes: (N, 4) corners in pixels. scores: (N,). A score that falls below min_score becomes 0. Overlaps use the
    "+1 pixel" convention of the old zoo's evaluation.
    """
    scores = scores.astype(np.float64)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + 1, axis=1)
    waiting = np.ones(len(scores), bool)
    while waiting.any():
        best = np.where(waiting, scores, -np.inf).argmax()
        waiting[best] = False
        others = np.flatnonzero(waiting)
        sides = np.minimum(boxes[best, 2:], boxes[others, 2:]) - np.maximum(boxes[best, :2], boxes[others, :2]) + 1
        inter = np.prod(np.maximum(sides, 0), axis=1)
        overlap = inter / (areas[best] + areas[others] - inter)
        scores[others] *= np.exp(-overlap ** 2 / sigma)
        dropped = others[scores[others] < min_score]
        scores[dropped], waiting[dropped] = 0, False
    return scores
