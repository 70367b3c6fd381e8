"""SSD (Liu et al. 2016, https://arxiv.org/abs/1512.02325): image -> boxes and class scores of every prior box."""
from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal, initializer

from src.backbones.fpn import FPN
from src.backbones.layers import ConvNorm
from src.backbones.mobilenet_v1 import MobileNetV1
from src.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2
from src.backbones.resnet import ResNet
from src.backbones.vgg import VGG16, ConvReLU
from src.errors import ConfigError
from src.ssd.predictors import PlainPredictor, PredictorPerMap, SeparablePredictor, SharedPredictor
from src.ssd.priors import MAPS


class SSD(nn.Cell):
    """Body, optional feature pyramid, extra maps, and a head for the boxes and one for the classes.

    construct: (B, 3, H, W) normalised -> deltas (B, N, 4) dy, dx, dh, dw and logits (B, N, 1 + classes),
    column 0 background, for N prior boxes. Training hands on what else the backbone takes (VGG16: dropout).
    """

    def __init__(self, backbone: nn.Cell, extras: Sequence[nn.Cell], box_predictors: nn.Cell,
                 class_predictors: nn.Cell, fpn: Optional[nn.Cell] = None):
        super().__init__()
        self.backbone = backbone
        self.fpn = fpn
        self.extras = nn.CellList(list(extras))
        self.box_predictors = box_predictors
        self.class_predictors = class_predictors

    def construct(self, images, *for_backbone):
        maps = self.backbone(images, *for_backbone)
        if self.fpn is not None:
            maps = self.fpn(maps)
        for extra in self.extras:
            maps = maps + (extra(maps[-1]),)
        return self.box_predictors(maps), self.class_predictors(maps)


class SSDInference(nn.Cell):
    """What is exported: boxes relative to the image instead of deltas, scores instead of logits.

    priors: (N, 4) cy, cx, h, w relative to the image. exclusive: the scores of a box sum up to 1, as in the paper;
    otherwise each is one of its own.
    construct: (B, 3, H, W) -> boxes (B, N, 4) y1, x1, y2, x2 in 0..1, scores (B, N, 1 + classes) in 0..1.
    """

    def __init__(self, network: SSD, priors: np.ndarray, prior_scaling: Sequence[float], exclusive: bool = False):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.centers = Tensor(priors[None, :, :2])
        self.sizes = Tensor(priors[None, :, 2:])
        self.center_scale, self.size_scale = prior_scaling
        self.exclusive = exclusive

    def construct(self, images):
        deltas, logits = self.network(images)
        centers = deltas[:, :, :2] * self.center_scale * self.sizes + self.centers
        sizes = ops.exp(deltas[:, :, 2:] * self.size_scale) * self.sizes
        boxes = ops.concat((centers - sizes / 2, centers + sizes / 2), -1)
        return ops.clamp(boxes, 0.0, 1.0), ops.softmax(logits, -1) if self.exclusive else ops.sigmoid(logits)


class VGGExtra(nn.Cell):
    """An extra map of SSD300-VGG16: 1x1 to half the depth, then 3x3 (section 3.1, conv8 to conv11).

    halves: the 3x3 has stride 2 and padding, otherwise stride 1 and no padding. relu, bias: of both; the zoo has none.
    The zoo pads its first two 1x1 convolutions by one cell and not the 3x3 behind them; without bias this gives the
    same numbers as padding the 3x3, which is what happens here.
    """

    def __init__(self, in_channels: int, out_channels: int, halves: bool, relu: bool, bias: bool):
        super().__init__()
        self.reduce = ConvReLU(in_channels, out_channels // 2, 1, bias=bias, relu=relu)
        self.spatial = ConvReLU(out_channels // 2, out_channels, 3, 2 if halves else 1, padding=1 if halves else 0,
                                bias=bias, relu=relu)

    def construct(self, x):
        return self.spatial(self.reduce(x))


def build_ssd(model, num_classes: int) -> SSD:
    """The network that the `model` section describes, with its initial weights."""
    network = BUILDERS[model.model_name](model, num_classes)
    for parameter in network.trainable_params():
        if parameter.name.endswith("weight"):
            parameter.set_data(initializer(TruncatedNormal(0.02), parameter.shape, parameter.dtype))
    for layer in network.class_predictors.output_layers:
        logit = math.log(model.initial_score / (1 - model.initial_score))
        layer.bias.set_data(Tensor(np.full(layer.bias.shape, logit, np.float32)))
    return network


def _ssd300_mobilenet_v2(model, num_classes: int) -> SSD:
    channels = model.extras_out_channels
    extras = [InvertedResidual(before, after, 2, round(before * ratio), last_activation=True)
              for before, after, ratio in zip(channels[1:], channels[2:], model.extras_ratio[2:])]
    return _with_predictor_per_map(MobileNetV2(symmetric=model.as_pytorch), extras, model, num_classes)


def _ssd300_mobilenet_v1(model, num_classes: int) -> SSD:
    channels = model.extras_out_channels
    extras = [ConvNorm(before, after, 3, 2, activation=nn.ReLU6()) for before, after in zip(channels[1:], channels[2:])]
    return _with_predictor_per_map(MobileNetV1(taps=(7, 13), symmetric=model.as_pytorch), extras, model, num_classes)


def _ssd300_vgg16(model, num_classes: int) -> SSD:
    channels, relu, as_in_paper = model.extras_out_channels, model.vgg_extra_relu, model.ssd_style == "torchvision"
    extras = [VGGExtra(before, after, level < MAPS[model.model_name].unpadded_from, relu, as_in_paper)
              for level, (before, after) in enumerate(zip(channels[1:], channels[2:]), start=2)]
    body = VGG16(model.ssd_vgg_bn, model.vgg_bias, fc_relu=relu, as_in_paper=as_in_paper)
    return _with_predictor_per_map(body, extras, model, num_classes,
                                   PlainPredictor if as_in_paper else SeparablePredictor)


def _ssd_mobilenet_v1_fpn(model, num_classes: int) -> SSD:
    body = MobileNetV1(taps=(5, 11, 13), symmetric=model.as_pytorch)
    return _with_fpn(body, body.channels, model, num_classes)


def _ssd_resnet50_fpn(model, num_classes: int) -> SSD:
    body = ResNet(50, symmetric=model.as_pytorch, symmetric_pool=model.as_pytorch, eps=1e-3, momentum=0.997)
    return _with_fpn(body, body.channels[1:], model, num_classes)


def _with_predictor_per_map(body: nn.Cell, extras: list, model, num_classes: int,
                            predictor: type = SeparablePredictor) -> SSD:
    channels, boxes = model.extras_out_channels, model.num_default
    if tuple(channels[:2]) != body.channels:
        raise ConfigError(f"extras_out_channels {channels}: the first two maps come from the backbone of "
                          f"{model.model_name} and have {list(body.channels)} channels")
    return SSD(body, extras, PredictorPerMap(channels, boxes, 4, predictor),
               PredictorPerMap(channels, boxes, num_classes + 1, predictor))


def _with_fpn(body: nn.Cell, body_channels: Sequence[int], model, num_classes: int) -> SSD:
    """RetinaNet on the last maps of a body; levels beyond them by 3x3 convolutions of stride 2."""
    levels, channels, boxes = len(model.num_default), model.extras_out_channels[0], model.num_default[0]
    if set(model.num_default) != {boxes} or levels < len(body_channels):
        raise ConfigError(f"num_default {model.num_default}: {model.model_name} has at least {len(body_channels)} "
                          "levels, which share one predictor and need the same number")
    extras = [ConvNorm(channels, channels, 3, 2, activation=nn.ReLU6(), eps=1e-5, momentum=0.9)
              for _ in range(levels - len(body_channels))]
    heads = [SharedPredictor(levels, channels, model.num_addition_layers, boxes, outputs)
             for outputs in (4, num_classes + 1)]
    fpn = FPN(body_channels, channels, lambda: ConvNorm(channels, channels, 3, activation=nn.ReLU6(), eps=1e-5,
                                                        momentum=0.9))
    return SSD(body, extras, *heads, fpn=fpn)


BUILDERS = {
    "ssd300": _ssd300_mobilenet_v2,
    "ssd_mobilenet_v1": _ssd300_mobilenet_v1,
    "ssd_mobilenet_v1_fpn": _ssd_mobilenet_v1_fpn,
    "ssd_resnet50_fpn": _ssd_resnet50_fpn,
    "ssd_vgg16": _ssd300_vgg16,
}
