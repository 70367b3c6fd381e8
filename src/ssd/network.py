"""SSD (Liu et al. 2016, https://arxiv.org/abs/1512.02325): image -> boxes and class scores of every prior box."""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal, initializer

from src.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2


class Predictor(nn.Cell):
    """SSDLite head of one map: depthwise 3x3, norm, ReLU6, 1x1 with bias (MobileNetV2, section 6.2).

    construct: (B, C, H, W) -> (B, H*W*boxes, outputs)
    """

    def __init__(self, channels: int, boxes: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.depthwise = nn.Conv2d(channels, channels, 3, pad_mode="same", group=channels)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.97)
        self.activation = nn.ReLU6()
        self.pointwise = nn.Conv2d(channels, boxes * outputs, 1, has_bias=True)

    def construct(self, x):
        x = self.pointwise(self.activation(self.norm(self.depthwise(x))))
        return ops.transpose(x, (0, 2, 3, 1)).reshape(x.shape[0], -1, self.outputs)


class SSD(nn.Cell):
    """Body, extra maps and one pair of predictors per map.

    construct: (B, 3, H, W) normalised -> deltas (B, N, 4) dy, dx, dh, dw and logits (B, N, 1 + classes),
    column 0 background, for N prior boxes.
    """

    def __init__(self, backbone: nn.Cell, extras: Sequence[nn.Cell], channels: Sequence[int],
                 boxes_per_cell: Sequence[int], num_classes: int):
        super().__init__()
        self.backbone = backbone
        self.extras = nn.CellList(list(extras))
        self.box_predictors = nn.CellList([Predictor(c, b, 4) for c, b in zip(channels, boxes_per_cell)])
        self.class_predictors = nn.CellList(
            [Predictor(c, b, num_classes + 1) for c, b in zip(channels, boxes_per_cell)])

    def construct(self, images):
        maps = self.backbone(images)
        for extra in self.extras:
            maps = maps + (extra(maps[-1]),)
        deltas, logits = (), ()
        for level, features in enumerate(maps):
            deltas += (self.box_predictors[level](features),)
            logits += (self.class_predictors[level](features),)
        return ops.concat(deltas, 1), ops.concat(logits, 1)


class SSDInference(nn.Cell):
    """What is exported: boxes relative to the image instead of deltas, scores instead of logits.

    construct: (B, 3, H, W) -> boxes (B, N, 4) y1, x1, y2, x2 in 0..1, scores (B, N, 1 + classes) in 0..1.
    """

    def __init__(self, network: SSD, priors: np.ndarray, prior_scaling: Sequence[float]):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.centers = Tensor(priors[None, :, :2])
        self.sizes = Tensor(priors[None, :, 2:])
        self.center_scale, self.size_scale = prior_scaling

    def construct(self, images):
        deltas, logits = self.network(images)
        centers = deltas[:, :, :2] * self.center_scale * self.sizes + self.centers
        sizes = ops.exp(deltas[:, :, 2:] * self.size_scale) * self.sizes
        boxes = ops.concat((centers - sizes / 2, centers + sizes / 2), -1)
        return ops.clamp(boxes, 0.0, 1.0), ops.sigmoid(logits)


def ssd300_mobilenet_v2(num_classes: int, channels: Sequence[int], hidden_ratios: Sequence[float],
                        boxes_per_cell: Sequence[int], initial_score: float = 0.5) -> SSD:
    """SSD300 on MobileNetV2; channels and hidden_ratios of the six maps, the first two being the body's own.

    initial_score: what every class scores before training (RetinaNet, section 3.3); 0.5 in the old zoo.
    """
    extras = [InvertedResidual(before, after, 2, round(before * ratio), last_activation=True)
              for before, after, ratio in zip(channels[1:], channels[2:], hidden_ratios[2:])]
    network = SSD(MobileNetV2(), extras, channels, boxes_per_cell, num_classes)
    for parameter in network.trainable_params():
        if parameter.name.endswith("weight"):
            parameter.set_data(initializer(TruncatedNormal(0.02), parameter.shape, parameter.dtype))
    for predictor in network.class_predictors:
        bias = predictor.pointwise.bias
        bias.set_data(Tensor(np.full(bias.shape, math.log(initial_score / (1 - initial_score)), np.float32)))
    return network
