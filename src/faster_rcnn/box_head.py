"""The second stage: RoI features -> classes and refined boxes (Girshick 2015; Ren et al. 2015)."""
from __future__ import annotations

from typing import Sequence

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, XavierUniform, initializer

from src.faster_rcnn.box_styles import BoxStyle
from src.ops.inclusive_boxes import decode, wider_than
from src.ops.nms_graph import classwise_nms, gather_rows


class Linear(nn.Cell):
    """x W + b with W stored as (inputs, outputs), as in the zoo's checkpoints."""

    def __init__(self, inputs: int, outputs: int, weight_init):
        super().__init__()
        self.weight = Parameter(initializer(weight_init, (inputs, outputs), ms.float32), name="weight")
        self.bias = Parameter(initializer("zeros", (outputs,), ms.float32), name="bias")

    def construct(self, x):
        # The operator, not ops.matmul, whose gradient transposes the weight, which takes longer than the product.
        return ops.MatMul()(x, self.weight) + self.bias


class BoxHead(nn.Cell):
    """Two hidden layers, then scores of background and classes, and box deltas of every class.

    box_classes: boxes per RoI; one more than there are classes when background has deltas too, as in the zoo's r1.2.
    construct: (R, C, h, w) -> logits (R, 1 + classes), column 0 background, and deltas (R, box_classes * 4).
    """

    def __init__(self, features: int, hidden: int, num_classes: int, box_classes: int):
        super().__init__()
        self.hidden = nn.CellList([Linear(features, hidden, XavierUniform()), Linear(hidden, hidden, XavierUniform())])
        self.logits = Linear(hidden, num_classes + 1, Normal(0.01))
        self.deltas = Linear(hidden, box_classes * 4, Normal(0.01))
        self.activation = nn.ReLU()

    def construct(self, features):
        x = features.reshape(features.shape[0], -1)
        for layer in self.hidden:
            x = self.activation(layer(x))
        return self.logits(x), self.deltas(x)


class BoxDetections(nn.Cell):
    """Logits and deltas of the RoIs -> the best detections of each image, after suppression within each class.

    input_size: height, width of the network input. stds: spread of the deltas. min_score: boxes below it are no
    detections. candidates: (RoI, class) pairs that go into NMS, the best ones; count: detections per image. style: how
    boxes are clipped and dropped. nms_by_matrix: suppress in float32 on every chip.
    construct: RoIs (B, N, 4), valid (B, N), logits (B, N, 1 + classes), deltas (B, N, boxes, 4), and (height, width)
    that boxes are clipped to, numbers or (B, 1) each, by default input_size -> boxes (B, K, 5) x1, y1, x2, y2 and
    score, labels (B, K, 1) int32 0-based, valid (B, K, 1) bool, and the RoI (B, K) int32 of each; best first.
    """

    def __init__(self, num_classes: int, input_size: Sequence[int], stds: Sequence[float], *, min_score: float,
                 nms_threshold: float, candidates: int, count: int, style: BoxStyle, nms_by_matrix: bool = False):
        super().__init__()
        self.num_classes = num_classes
        self.input_size = tuple(input_size)
        self.stds = tuple(stds)
        self.min_score = min_score
        self.nms_threshold = nms_threshold
        self.candidates = candidates
        self.count = count
        self.clipped_end_offset = float(style.clipped_end_offset)
        self.least_decoded_side = style.least_decoded_side
        self.least_side = style.least_detection_side
        self.nms_end_offset = style.nms_end_offset
        self.nms_by_matrix = nms_by_matrix

    def construct(self, rois, valid, logits, deltas, size=None):
        batch, rois_per_image, _ = rois.shape
        size = self.input_size if size is None else size
        scores = ops.softmax(logits, -1)[:, :, 1:] * valid.expand_dims(-1).astype(logits.dtype)
        pairs = rois_per_image * self.num_classes
        scores, pair = ops.topk(scores.reshape(batch, -1), min(self.candidates, pairs))
        roi = ops.floor_divide(pair, self.num_classes)
        label = pair - roi * self.num_classes
        per_class = deltas[:, :, -self.num_classes:].reshape(batch, pairs, 4)  # without background's
        boxes = decode(gather_rows(per_class, pair), gather_rows(rois, roi), self.stds, size, self.clipped_end_offset,
                       self.least_decoded_side)
        kept = classwise_nms(boxes, scores, label, self.num_classes, self.nms_threshold, self.input_size,
                             self.nms_end_offset, self.nms_by_matrix)
        found = ops.logical_and(kept, scores > self.min_score)
        if self.least_side > 0:
            found = ops.logical_and(found, wider_than(boxes, self.least_side))
        scores, best = ops.topk(ops.where(found, scores, ops.zeros_like(scores)), min(self.count, scores.shape[1]))
        boxes = ops.concat((gather_rows(boxes, best), scores.expand_dims(-1)), -1)
        label, roi = gather_rows(label.expand_dims(-1), best), gather_rows(roi.expand_dims(-1), best)
        return (boxes, label.astype(ms.int32), scores.expand_dims(-1) > self.min_score,
                roi.reshape(batch, -1).astype(ms.int32))
