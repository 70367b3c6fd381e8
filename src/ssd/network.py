"""SSD (Liu et al. 2016, https://arxiv.org/abs/1512.02325): image -> boxes and class scores of every prior."""
from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import TruncatedNormal, initializer

from src.backbones.fpn import FPN
from src.backbones.layers import ConvNorm
from src.backbones.mobilenet_v2 import InvertedResidual
from src.backbones.vgg import ConvReLU
from src.ssd.predictors import PlainPredictor, PredictorPerMap, SeparablePredictor, SharedPredictor


class SSD(nn.Cell):
    """Backbone, optional feature pyramid, extra maps, and a head for the boxes and one for the classes.

    construct: (B, 3, H, W) normalised -> deltas (B, N, 4) dy, dx, dh, dw and logits (B, N, 1 + classes),
    column 0 background, for N priors. Training also passes further inputs of the backbone (VGG16: dropout).
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
    """The exported network: boxes as fractions of the image instead of deltas, scores instead of logits.

    priors: (N, 4) cy, cx, h, w relative to the image. exclusive: scores of a box sum to 1 (softmax), as in the paper;
    otherwise each is independent (sigmoid).
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
    """The network that the `model` section describes, randomly initialised."""
    variant = model.variant
    backbone = model.backbone.build(**variant.backbone_settings(model))
    extras = [EXTRAS[variant.extra](model, level, stride)
              for level, stride in enumerate(model.extra_strides, start=variant.maps)]
    box_predictors, class_predictors = (_predictors(model, outputs) for outputs in (4, num_classes + 1))
    fpn = _pyramid(model) if variant.fpn else None
    network = SSD(backbone, extras, box_predictors, class_predictors, fpn)
    outputs = {id(layer.weight) for heads in (box_predictors, class_predictors) for layer in heads.output_layers}
    for parameter in network.trainable_params():
        if parameter.name.endswith("weight"):
            spread = SPREADS["zoo" if id(parameter) in outputs else model.initial_weights](parameter.shape)
            parameter.set_data(initializer(TruncatedNormal(spread), parameter.shape, parameter.dtype))
    for layer in network.class_predictors.output_layers:
        logit = math.log(model.initial_score / (1 - model.initial_score))
        layer.bias.set_data(Tensor(np.full(layer.bias.shape, logit, np.float32)))
    return network


# initial_weights -> standard deviation of the weights of a convolution with a norm behind it, from their shape
# (outputs, inputs per group, rows, columns). With the zoo's 0.02 the maps of a depthwise convolution have a variance of
# 0.001, which is no more than the epsilon of the norm behind it: each block dampens its maps.
SPREADS = {"zoo": lambda _shape: 0.02,
           "he": lambda shape: math.sqrt(2 / math.prod(shape[1:]))}


def _predictors(model, outputs: int) -> nn.Cell:
    if model.variant.fpn:
        return SharedPredictor(len(model.num_default), model.extras_out_channels[0], model.num_addition_layers,
                               model.num_default[0], outputs)
    return PredictorPerMap(model.extras_out_channels, model.num_default, outputs,
                           PlainPredictor if model.ssd_style == "torchvision" else SeparablePredictor)


def _pyramid(model) -> FPN:
    channels = model.extras_out_channels[0]
    return FPN(model.backbone.channels[-model.variant.maps:], channels, lambda: _pyramid_layer(channels))


def _pyramid_layer(channels: int, stride: int = 1) -> ConvNorm:
    return ConvNorm(channels, channels, 3, stride, activation=nn.ReLU6(), eps=1e-5, momentum=0.9)


def _inverted_residual(model, level: int, stride: int) -> InvertedResidual:
    before, after = model.extras_out_channels[level - 1:level + 1]
    return InvertedResidual(before, after, stride, round(before * model.extras_ratio[level]), last_activation=True)


def _convolution(model, level: int, stride: int) -> ConvNorm:
    before, after = model.extras_out_channels[level - 1:level + 1]
    return ConvNorm(before, after, 3, stride, activation=nn.ReLU6())


def _vgg_extra(model, level: int, _stride: int) -> VGGExtra:
    before, after = model.extras_out_channels[level - 1:level + 1]
    return VGGExtra(before, after, level < model.variant.unpadded_from, model.vgg_extra_relu,
                    model.ssd_style == "torchvision")


EXTRAS = {"inverted residual": _inverted_residual, "convolution": _convolution, "VGG": _vgg_extra,
          "pyramid": lambda model, _level, stride: _pyramid_layer(model.extras_out_channels[0], stride)}
