"""Mask R-CNN (He et al. 2017, https://arxiv.org/abs/1703.06870): Faster R-CNN with a third head, which says for every
detection which of its pixels belong to the object."""
from __future__ import annotations

from dataclasses import asdict

import mindspore as ms
from mindspore import Tensor, nn, ops

from src.faster_rcnn.network import ROI_STRIDES, FasterRCNN, FasterRCNNInference, build_stages
from src.mask_rcnn.mask_head import MaskHead
from src.ops.resize import resize_bilinear, resize_nearest
from src.ops.roi_align import PyramidRoIAlign

UPSAMPLING = {"nearest": resize_nearest, "bilinear": resize_bilinear}


class MaskRCNN(FasterRCNN):
    """Faster R-CNN, and features of larger RoIs for the mask head."""

    def __init__(self, *stages: nn.Cell, mask_roi_align: nn.Cell, mask_head: nn.Cell):
        super().__init__(*stages)
        self.mask_roi_align = mask_roi_align
        self.mask_head = mask_head

    def masks(self, levels: tuple, rois: Tensor, labels: Tensor) -> Tensor:
        """Levels, RoIs (B, N, 4) and their labels (B, N), class + 1 -> logits of that class's mask (B, N, s, s)."""
        logits = self.mask_head(self.mask_roi_align(levels, rois))
        count, classes, height, width = logits.shape
        own = ops.arange(count).astype(ms.int32) * classes + labels.reshape(-1)
        return ops.gather(logits.reshape(-1, height, width), own, 0).reshape(*labels.shape, height, width)


class MaskRCNNInference(FasterRCNNInference):
    """The network that is evaluated and exported.

    The mask head sees the boxes of the detections only, as in section 3.1 of the paper; the zoo runs it on all
    proposals, at the box of each one's most likely class.
    construct: images and image_sizes -> boxes (B, K, 5), labels (B, K, 1) and valid (B, K, 1), what FasterRCNNInference
    takes and returns, and masks (B, K, s, s) in 0..1, each stretched over its box.
    """

    def construct(self, images, image_sizes=None):
        boxes, labels, valid, _, levels = self.detect(images, image_sizes)
        return boxes, labels, valid, ops.sigmoid(self.network.masks(levels, boxes[:, :, :4], labels[:, :, 0] + 1))


def build_mask_rcnn(model, num_classes: int, *, frozen_body: bool) -> MaskRCNN:
    """The network that the `model` section describes, randomly initialised. frozen_body: stem and first stage are not
    trained, and all batch norms keep their statistics."""
    channels, style = model.fpn_out_channels, model.style
    roi_sampling = style.mask_rcnn_roi_sampling
    return MaskRCNN(
        *build_stages(model, num_classes, frozen_body=frozen_body, roi_sampling=roi_sampling,
                      upsample=UPSAMPLING[style.mask_rcnn_upsampling]),
        mask_roi_align=PyramidRoIAlign(model.mask_roi_size, ROI_STRIDES, model.roi_align_finest_scale,
                                       **asdict(roi_sampling)),
        mask_head=MaskHead(channels, model.rcnn_mask_out_channels, num_classes + 1))
