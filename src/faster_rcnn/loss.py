"""Faster R-CNN and targets -> named loss parts (Ren et al. 2015, equation 1, for either stage)."""
from __future__ import annotations

from typing import Sequence

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from src.faster_rcnn.network import FasterRCNN
from src.faster_rcnn.proposals import Proposals
from src.faster_rcnn.sampled_rpn import SampledRPN
from src.faster_rcnn.sampling import ProposalSampler
from src.ops.inclusive_boxes import encode
from src.ops.losses import sigmoid_cross_entropy, smooth_l1_loss
from src.ops.nms_graph import gather_rows

RPN_BETA = 1 / 9


class FasterRCNNLoss(nn.Cell):
    """Losses of both stages, trained together.

    anchors: of all levels (N, 4). rpn_stds, box_stds: spread of the deltas of either stage. weights: factors of
    rpn_cls_loss, rpn_reg_loss, rcnn_cls_loss and rcnn_reg_loss.
    construct: images (B, 3, H, W) normalised; anchor_index (B, S) int32, anchor_labels (B, S) int32 1 object, 0
    background, -1 padding, anchor_boxes (B, S, 4); boxes (B, G, 4), labels (B, G) int32 class + 1 or 0 for padding,
    priority (B, G + N) float32 in 0..1 for N proposals -> the scalars that `parts` names.
    """

    parts: tuple[str, ...] = ("total_loss", "rpn_loss", "rcnn_loss", "rpn_cls_loss", "rpn_reg_loss", "rcnn_cls_loss",
                              "rcnn_reg_loss")

    def __init__(self, network: FasterRCNN, proposals: Proposals, sampler: ProposalSampler, anchors: np.ndarray,
                 rpn_stds: Sequence[float], box_stds: Sequence[float], weights: Sequence[float] = (1, 1, 1, 1)):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.sampled_rpn = SampledRPN(network.rpn)
        self.proposals = proposals
        self.sampler = sampler
        self.anchors = Tensor(anchors)
        self.rpn_stds = tuple(rpn_stds)
        self.box_stds = tuple(box_stds)
        self.weights = tuple(float(weight) for weight in weights)

    def construct(self, images, anchor_index, anchor_labels, anchor_boxes, boxes, labels, priority):
        losses, _, _ = self.with_samples(images, anchor_index, anchor_labels, anchor_boxes, boxes, labels, priority)
        return losses

    def with_samples(self, images, anchor_index, anchor_labels, anchor_boxes, boxes, labels, priority):
        """The losses, the levels of the pyramid, and the inputs of a further head: sampled RoIs, labels, taken and
        objects."""
        levels, objectness, deltas = self.network(images)
        rpn_cls, rpn_reg = self.rpn_losses(levels, anchor_index, anchor_labels, anchor_boxes)
        samples = self.sampler(*self.proposals(objectness, deltas), boxes, labels, priority)
        rois, roi_labels, taken, owner = samples
        box_cls, box_reg = self.box_losses(levels, rois, roi_labels, taken, gather_rows(boxes, owner))
        rpn_cls, rpn_reg = rpn_cls * self.weights[0], rpn_reg * self.weights[1]
        box_cls, box_reg = box_cls * self.weights[2], box_reg * self.weights[3]
        rpn, box = rpn_cls + rpn_reg, box_cls + box_reg
        return (rpn + box, rpn, box, rpn_cls, rpn_reg, box_cls, box_reg), levels, samples

    def rpn_losses(self, levels, index, labels, boxes):
        """Cross entropy and smooth L1, both divided by the number of sampled anchors."""
        logits, deltas = self.sampled_rpn(levels, index)
        drawn, positive = (labels >= 0).astype(logits.dtype), (labels > 0).astype(logits.dtype)
        cls_loss = (sigmoid_cross_entropy(logits, positive) * drawn).sum() / labels.size
        anchors = self.anchors[index]
        targets = encode(ops.where((labels > 0).expand_dims(-1), boxes, anchors), anchors, self.rpn_stds)
        distance = smooth_l1_loss(deltas, targets, RPN_BETA).sum(-1)
        return cls_loss, (distance * positive).sum() / labels.size

    def box_losses(self, levels, rois, labels, taken, boxes):
        """Cross entropy and smooth L1 on the box of the RoI's class, both divided by the number of RoIs taken."""
        logits, deltas = self.network.boxes(levels, rois)
        taken, positive = taken.astype(logits.dtype), (labels > 0).astype(logits.dtype)
        count = ops.maximum(taken.sum(), 1.0)
        log_scores = ops.gather_elements(ops.log_softmax(logits, -1), 2, labels.expand_dims(-1))[..., 0]
        box_classes = deltas.shape[2]
        # Without a box for the background, the first box belongs to the first class.
        column = ops.maximum(labels - (logits.shape[2] - box_classes), 0)
        batch, rois_per_image = labels.shape
        first = (ops.arange(rois_per_image) * box_classes).astype(mstype.int32)
        predicted = gather_rows(deltas.reshape(batch, -1, 4), column + first)
        targets = encode(ops.where((labels > 0).expand_dims(-1), boxes, rois), rois, self.box_stds)
        distance = smooth_l1_loss(predicted, targets).sum(-1)
        return -(log_scores * taken).sum() / count, (distance * positive).sum() / count
