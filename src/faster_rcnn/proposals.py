"""Objectness and deltas of all anchors -> the RoIs of the second stage."""
from __future__ import annotations

from typing import Sequence

import numpy as np
from mindspore import Tensor, nn, ops

from src.faster_rcnn.box_styles import BoxStyle
from src.ops.inclusive_boxes import decode, wider_than
from src.ops.nms_graph import gather_rows, nms

DROPPED = -1.0  # score of a box that NMS suppressed: below every sigmoid


class Proposals(nn.Cell):
    """Selects the best boxes of each level after NMS, then the best of all levels.

    anchors: per level (n, 4). input_size: height, width of the network input. stds: spread of the deltas. before_nms:
    boxes of a level that go into NMS; count: proposals of an image. style: how boxes are clipped and dropped.
    nms_by_matrix: suppress in float32 on every chip.
    construct: objectness (B, n) and deltas (B, n, 4) of every level, and (height, width) that boxes are clipped to,
    numbers or (B, 1) each, by default input_size -> RoIs (B, N, 4) float32 x1, y1, x2, y2 and valid (B, N) bool, best
    first, where N is `count`, or the number of boxes that went into NMS when these are fewer. No gradient passes.
    """

    def __init__(self, anchors: Sequence[np.ndarray], input_size: Sequence[int], stds: Sequence[float], *,
                 before_nms: int, count: int, nms_threshold: float, style: BoxStyle, nms_by_matrix: bool = False):
        super().__init__()
        self.anchors = tuple(Tensor(level) for level in anchors)
        self.input_size = tuple(input_size)
        self.stds = tuple(stds)
        self.candidates = tuple(min(before_nms, len(level)) for level in anchors)
        self.count = min(count, sum(self.candidates))
        self.nms_threshold = nms_threshold
        self.clipped_end_offset = float(style.clipped_end_offset)
        self.least_decoded_side = style.least_decoded_side
        self.least_side = style.least_proposal_side
        self.nms_end_offset = style.nms_end_offset
        self.nms_by_matrix = nms_by_matrix

    def construct(self, objectness, deltas, size=None):
        boxes, scores = (), ()
        size = self.input_size if size is None else size
        for level, anchors in enumerate(self.anchors):
            level_boxes, level_scores = self._best_of_level(
                ops.stop_gradient(objectness[level]), ops.stop_gradient(deltas[level]), anchors,
                self.candidates[level], size)
            boxes += (level_boxes,)
            scores += (level_scores,)
        scores, order = ops.topk(ops.concat(scores, 1), self.count)
        return gather_rows(ops.concat(boxes, 1), order), scores > DROPPED

    def _best_of_level(self, objectness, deltas, anchors, candidates, size):
        scores, order = ops.topk(ops.sigmoid(objectness), candidates)
        boxes = decode(gather_rows(deltas, order), anchors[order], self.stds, size, self.clipped_end_offset,
                       self.least_decoded_side)
        kept = nms(boxes, scores, self.nms_threshold, self.nms_end_offset, self.nms_by_matrix)
        if self.least_side > 0:
            kept = ops.logical_and(kept, wider_than(boxes, self.least_side))
        return boxes, ops.where(kept, scores, ops.full_like(scores, DROPPED))
