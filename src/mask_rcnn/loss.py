"""Mask R-CNN and targets -> named loss parts (section 3: L = L_cls + L_box + L_mask)."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

from src.faster_rcnn.loss import FasterRCNNLoss
from src.mask_rcnn.targets import mask_targets
from src.ops.losses import sigmoid_cross_entropy


class MaskRCNNLoss(FasterRCNNLoss):
    """The losses of Faster R-CNN and a loss of the masks of its positive RoIs.

    settings: arguments of FasterRCNNLoss. positives: largest number of positive RoIs, which the sampler puts first.
    mask_weight: factor of the mask loss.
    construct: what FasterRCNNLoss takes, and bitmaps (B, G, H, W / 8) uint8, a bit per pixel of the input.
    """

    parts = (*FasterRCNNLoss.parts, "rcnn_mask_loss")

    def __init__(self, *settings, positives: int, mask_weight: float = 1.0):
        super().__init__(*settings)
        self.positives = positives
        # Other devices are faster without a branch in the graph.
        on_cpu = ms.get_context("device_target") == "CPU"
        self.few = max(positives // 4, 1) if on_cpu else positives
        self.mask_weight = float(mask_weight)

    def construct(self, images, anchor_index, anchor_labels, anchor_boxes, boxes, labels, priority, bitmaps):
        (total, rpn, box, *parts), levels, (rois, roi_labels, _, objects) = self.with_samples(
            images, anchor_index, anchor_labels, anchor_boxes, boxes, labels, priority)
        first = self.positives
        mask = self.mask_weight * self.mask_loss(levels, rois[:, :first], roi_labels[:, :first], objects[:, :first],
                                                 bitmaps)
        return (total + mask, rpn, box + mask, *parts, mask)

    def mask_loss(self, levels: tuple, rois: Tensor, labels: Tensor, objects: Tensor, bitmaps: Tensor) -> Tensor:
        """Cross entropy on the mask of the RoI's class, the mean over its cells, then over the positive RoIs.

        On a CPU, only a quarter of the positive RoIs that an image may have are computed when no image has more, as in
        most steps on small data: the mask head is half of a step otherwise.
        """
        few = self.few
        if few < self.positives and (labels > 0).astype(ms.int32).sum(1).max() <= few:
            return self._mask_loss(levels, rois[:, :few], labels[:, :few], objects[:, :few], bitmaps)
        return self._mask_loss(levels, rois, labels, objects, bitmaps)

    def _mask_loss(self, levels: tuple, rois: Tensor, labels: Tensor, objects: Tensor, bitmaps: Tensor) -> Tensor:
        logits = self.network.masks(levels, rois, labels)
        targets = mask_targets(bitmaps, rois, objects, logits.shape[-1])
        losses = sigmoid_cross_entropy(logits, targets).mean((2, 3))
        positive = (labels > 0).astype(losses.dtype)
        return (losses * positive).sum() / ops.maximum(positive.sum(), 1.0)
