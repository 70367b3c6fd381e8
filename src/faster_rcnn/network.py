"""Faster R-CNN with a feature pyramid (Ren et al. 2015, https://arxiv.org/abs/1506.01497; Lin et al. 2016,
https://arxiv.org/abs/1612.03144): image -> boxes, scores and classes."""
from __future__ import annotations

from dataclasses import asdict
from typing import Callable

from mindspore import nn
from mindspore.common.initializer import HeNormal, XavierUniform, initializer

from src.backbones.fpn import FPN
from src.faster_rcnn.box_head import BoxDetections, BoxHead
from src.faster_rcnn.box_styles import RoISampling
from src.faster_rcnn.config import STRIDES
from src.faster_rcnn.proposals import Proposals
from src.faster_rcnn.rpn import RPNHead
from src.ops.conv2d import Conv2d
from src.ops.norms import use_statistics
from src.ops.resize import resize_nearest
from src.ops.roi_align import PyramidRoIAlign

ROI_STRIDES = STRIDES[:4]  # of the levels that RoIs are looked up in
STEM_LAYERS_IN_BATCH_MODE = 2  # of the zoo's Res2Net
NORM = {"eps": 1e-5, "momentum": 0.9}


class FasterRCNN(nn.Cell):
    """Figure 2 of the paper: backbone and pyramid, region proposal network, RoI features, box head.

    Everything with parameters is here; the cells around it turn its outputs into proposals and detections, or into
    losses. construct: images (B, 3, H, W) normalised, sides multiples of 32 -> levels, tuple of (B, C, H/stride,
    W/stride), and per level objectness (B, n) and deltas (B, n, 4) of its n anchors.
    """

    def __init__(self, backbone: nn.Cell, fpn: nn.Cell, rpn: nn.Cell, roi_align: nn.Cell, box_head: nn.Cell):
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.rpn = rpn
        self.roi_align = roi_align
        self.box_head = box_head
        self.coarser = nn.MaxPool2d(1, 2)

    def construct(self, images):
        levels = self.features(images)
        objectness, deltas = self.rpn(levels)
        return levels, objectness, deltas

    def features(self, images):
        """Levels P2 to P6, tuple of (B, C, H/stride, W/stride)."""
        levels = self.fpn(self.backbone(images))
        return levels + (self.coarser(levels[-1]),)

    def boxes(self, levels, rois):
        """RoIs (B, N, 4) -> class logits (B, N, 1 + classes) and box deltas (B, N, boxes, 4)."""
        logits, deltas = self.box_head(self.roi_align(levels, rois))
        batch, count, _ = rois.shape
        return logits.reshape(batch, count, -1), deltas.reshape(batch, count, -1, 4)


class FasterRCNNInference(nn.Cell):
    """The network that is evaluated and exported.

    clipped_to_image: boxes end with the image rather than with the input, whose corner it fills.
    construct: images (B, 3, H, W), and with clipped_to_image their heights and widths (B, 2) float32 in pixels of the
    input -> boxes (B, K, 5) x1, y1, x2, y2 in pixels of the input (last pixel included) and score, labels (B, K, 1)
    int32 0-based, valid (B, K, 1) bool; best first, rows that are not valid are padding.
    """

    def __init__(self, network: FasterRCNN, proposals: Proposals, detections: BoxDetections, *,
                 clipped_to_image: bool = False):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.proposals = proposals
        self.detections = detections
        self.clipped_to_image = clipped_to_image

    def construct(self, images, image_sizes=None):
        boxes, labels, valid, _, _ = self.detect(images, image_sizes)
        return boxes, labels, valid

    def detect(self, images, image_sizes=None):
        """The outputs, then the RoI (B, K) that each detection comes from, and the levels."""
        size = (image_sizes[:, :1], image_sizes[:, 1:]) if self.clipped_to_image else images.shape[2:]
        levels, objectness, deltas = self.network(images)
        rois, valid = self.proposals(objectness, deltas, size)
        boxes, labels, valid, origin = self.detections(rois, valid, *self.network.boxes(levels, rois), size)
        return boxes, labels, valid, origin, levels


def build_faster_rcnn(model, num_classes: int, *, frozen_body: bool) -> FasterRCNN:
    """The network that the `model` section describes, randomly initialised. frozen_body: stem and first stage are not
    trained, and all batch norms keep their statistics."""
    return FasterRCNN(*build_stages(model, num_classes, frozen_body=frozen_body,
                                    roi_sampling=model.style.roi_sampling))


def build_stages(model, num_classes: int, *, frozen_body: bool, roi_sampling: RoISampling,
                 upsample: Callable = resize_nearest) -> tuple[nn.Cell, ...]:
    """The cells that FasterRCNN consists of, randomly initialised.

    frozen_body: stem and first stage are not trained, and all batch norms keep their statistics, which suits a backbone
    that comes from ImageNet and batches of one or two images. upsample: (map, size of the finer level) -> map of that
    size.
    """
    backbone, channels = build_backbone(model), model.fpn_out_channels
    if frozen_body:
        use_statistics(backbone, moving=True)
        for cell in (backbone.stem, backbone.stages[0]):
            for parameter in cell.get_parameters():
                parameter.requires_grad = False
    if model.stem_batch_statistics:
        use_statistics(backbone.stem[:STEM_LAYERS_IN_BATCH_MODE], moving=False)
    fpn = FPN(model.backbone.channels, channels, lambda: _xavier(Conv2d(channels, channels, 3, has_bias=True)),
              upsample)
    for lateral in fpn.laterals:
        _xavier(lateral)
    roi_align = PyramidRoIAlign(model.roi_size, ROI_STRIDES, model.roi_align_finest_scale, **asdict(roi_sampling))
    box_head = BoxHead(channels * model.roi_size ** 2, model.rcnn_fc_out_channels, num_classes,
                       num_classes if model.without_bg_loss else num_classes + 1)
    return backbone, fpn, RPNHead(channels, model.anchors_per_cell), roi_align, box_head


def build_backbone(model) -> nn.Cell:
    """The backbone of the model, randomly initialised."""
    stride_first = {"stride_first": True} if model.backbone_style == "caffe" else {}
    backbone = model.backbone.build(symmetric=model.padded_on_every_side, symmetric_pool=model.pools_every_side, **NORM,
                                    **stride_first)
    for parameter in backbone.get_parameters():
        if parameter.name.endswith("weight"):
            parameter.set_data(initializer(HeNormal(mode="fan_out", nonlinearity="relu"), parameter.shape,
                                           parameter.dtype))
    return backbone


def _xavier(conv: nn.Conv2d) -> nn.Conv2d:
    conv.weight.set_data(initializer(XavierUniform(), conv.weight.shape, conv.weight.dtype))
    conv.bias.set_data(initializer("zeros", conv.bias.shape, conv.bias.dtype))
    return conv
