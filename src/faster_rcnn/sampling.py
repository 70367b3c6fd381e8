"""Samples the RoIs on which the second stage is trained."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from src.ops.inclusive_boxes import box_iou
from src.ops.nms_graph import gather_rows


class ProposalSampler(nn.Cell):
    """Draws positive and negative RoIs (Girshick 2015, section 2.3) among the proposals and the objects themselves.

    A RoI is positive if its IoU with some object is at least positive_iou, negative if all are below negative_iou.
    `samples` are drawn, at most `positives` positive, by descending `priority`: random numbers from the loader, so that
    a step depends only on its batch and the weights.
    construct: RoIs (B, N, 4), valid (B, N) bool, objects (B, G, 4), labels (B, G) int32, class + 1 or 0 for padding,
    priority (B, G + N) float32 in 0..1 -> RoIs (B, S, 4), labels (B, S) int32 with 0 background, taken (B, S) bool,
    the rest is padding, and the object (B, S) int32 of each; positive ones first. No gradient passes.
    """

    def __init__(self, *, positive_iou: float, negative_iou: float, samples: int, positives: int):
        super().__init__()
        self.positive_iou = positive_iou
        self.negative_iou = negative_iou
        self.samples = samples
        self.positives = positives

    def construct(self, rois, valid, boxes, labels, priority):
        rois = ops.concat((boxes, ops.stop_gradient(rois)), 1)
        valid = ops.concat((labels > 0, valid), 1)
        overlaps = box_iou(rois, boxes) * (labels > 0).expand_dims(1).astype(rois.dtype)
        overlap, owner = ops.max(overlaps, -1)
        positive = ops.logical_and(valid, overlap >= self.positive_iou)
        negative = ops.logical_and(valid, overlap < self.negative_iou)
        positive_index, positive_taken = _first(positive, priority, self.positives)
        negative_index, negative_taken = _first(negative, priority, self.samples)
        taken = ops.concat((positive_taken, negative_taken), 1).astype(ms.float32)
        # Padding goes to the end, so `samples` cuts off the last negative ones.
        place = ops.arange(taken.shape[1], 0, -1).astype(ms.float32)
        taken, order = ops.topk(taken * place, min(self.samples, taken.shape[1]))
        index = ops.gather_elements(ops.concat((positive_index, negative_index), 1), 1, order)
        owner = ops.gather_elements(owner.astype(ms.int32), 1, index)
        is_object = ops.gather_elements(positive.astype(ms.int32), 1, index)
        labels = ops.gather_elements(labels, 1, owner) * is_object
        return gather_rows(rois, index), labels * (taken > 0).astype(ms.int32), taken > 0, owner


def _first(candidates: Tensor, priority: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices (B, count) of the candidates (B, N) bool with the highest priority, and which are valid."""
    rank, index = ops.topk(candidates.astype(priority.dtype) * (priority + 1), min(count, candidates.shape[1]))
    return index, rank > 0
