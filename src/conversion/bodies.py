"""ImageNet bodies of PyTorch's libraries: how they name what ours have, and where they compute differently.

The tables hold the names of cells (theirs -> ours). Channels per group, activations and strides agree; what differs:
- padding of strided layers: the setting backbone_style, which the checkpoint asks for when it is loaded;
- epsilon of the batch norms: gamma is scaled so that the norm gives the same numbers;
- order of the input's colours: the stem's input channels are reversed for a family that wants BGR;
- mean and spread of the input: the checkpoint asks for the settings when it is loaded;
- biases in front of a batch norm: part of its moving mean.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

import numpy as np
from mindspore import nn

from src.backbones.depths import RESNET_BLOCKS
from src.backbones.mobilenet_v1 import MobileNetV1
from src.backbones.mobilenet_v2 import MobileNetV2
from src.backbones.res2net import Res2NetBlock
from src.backbones.resnet import ResNet
from src.backbones.vgg import BLOCKS as VGG_BLOCKS
from src.backbones.vgg import VGG16
from src.backbones.zoo_names import res2net_cells, resnet_cells
from src.conditions import norm_eps
from src.conversion.naming import Naming
from src.errors import CheckpointError

NORM_WORDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
COUNTER = ".num_batches_tracked"
PYTORCH_EPS = 1e-5  # of every batch norm in the bodies below
TIMM_MOBILENET_V1_BLOCKS = (1, 2, 2, 6, 2)  # of each of its stages
TIMM_RES2NET_STEM = {  # zoo -> timm
    "conv1_0": "conv1.0", "bn1_0": "conv1.1", "conv1_1": "conv1.3", "bn1_1": "conv1.4", "conv1_2": "conv1.6"}
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Body:
    """A network of PyTorch: its names {cell: our cell}, its classifiers, and the input it was trained with (RGB)."""

    source: str
    cells: dict
    classifiers: tuple
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD


def body_namings(detector, network: nn.Cell) -> list:
    """The files of PyTorch's libraries that fit the body of the network."""
    make = BODIES.get(type(network.backbone))
    return [_naming(make(network.backbone), detector, network)] if make else []


def _naming(body: Body, detector, network: nn.Cell) -> Naming:
    norms = batch_norms(network)
    parameters = {parameter.name for parameter in network.backbone.get_parameters()}
    theirs_of = {ours: theirs for theirs, ours in body.cells.items()}
    bgr = detector.sidecar()["input"]["channels"] == "BGR"
    extra_biases = {f"{theirs}.bias": theirs_of.get(_norm_behind(ours)) for theirs, ours in body.cells.items()
                    if ours not in norms and f"{ours}.bias" not in parameters}

    def rename(name: str):
        return renamed_from_pytorch(name, body.cells, norms)

    def reason_to_ignore(name: str):
        if name.startswith(body.classifiers):
            return "the classifier of ImageNet"
        if name.endswith(COUNTER):
            return "PyTorch's count of batches"
        return "part of the moving mean of the norm behind it" if name in extra_biases else None

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        for bias in set(extra_biases) & set(result):
            if extra_biases[bias] is None:
                raise CheckpointError(f"{bias}: the convolutions of these weights have biases, the zoo's have none; "
                                      "add --vgg_bias True, here and in training")
            mean = f"{extra_biases[bias]}.running_mean"
            result[mean] = result[mean] - result[bias]
        scale_norms(result, body.cells, norms, PYTORCH_EPS)
        stem = f"{next(iter(body.cells))}.weight"
        if bgr and stem in result:
            result[stem] = result[stem][:, ::-1]
        return result

    def is_needed(ours: str) -> bool:
        return ours in parameters and not ours.startswith(detector.not_from_imagenet)

    mean, std = (list(values[::-1] if bgr else values) for values in (body.mean, body.std))
    return Naming(body.source, "backbone", rename, reason_to_ignore, is_needed, prepare,
                  {"backbone_style": "pytorch", "mean": mean, "std": std, "norm_eps": norm_eps(network.backbone)})


def batch_norms(network: nn.Cell) -> dict:
    """{name: cell} of the batch norms."""
    return {name: cell for name, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)}


def renamed_from_pytorch(name: str, cells: dict, norms: dict) -> Optional[str]:
    """Our name of a parameter of PyTorch's, None if its cell is not in the table {their cell: ours}."""
    theirs, _, word = name.rpartition(".")
    ours = cells.get(theirs)
    return ours and f"{ours}.{NORM_WORDS.get(word, word) if ours in norms else word}"


def scale_norms(arrays: dict, cells: dict, norms: dict, eps: float) -> None:
    """Change the scale of the norms in a file so that ours give the same numbers with an epsilon of their own."""
    for theirs, ours in cells.items():
        gamma, variance = f"{theirs}.weight", arrays.get(f"{theirs}.running_var")
        if ours in norms and gamma in arrays and variance is not None and norms[ours].eps != eps:
            arrays[gamma] = arrays[gamma] * np.sqrt((variance + norms[ours].eps) / (variance + eps))


def _norm_behind(conv: str) -> str:
    return conv.rpartition(".")[0] + ".norm"


def _conv_norm(conv: str, norm: str, ours: str) -> dict:
    return {conv: f"{ours}.conv", norm: f"{ours}.norm"}


def _resnet(backbone: ResNet) -> Body:
    blocks = tuple(len(stage) for stage in backbone.stages)
    depth = next(depth for depth, counts in RESNET_BLOCKS.items() if counts == blocks)
    if isinstance(backbone.stages[0][0], Res2NetBlock):
        cells = res2net_cells(depth, "", shortcut=("downsample.1", "downsample.2"))
        return Body("timm", {TIMM_RES2NET_STEM.get(zoo, zoo): ours for zoo, ours in cells.items()}, ("fc.",))
    return Body("torchvision", resnet_cells(depth, "", shortcut=("downsample.0", "downsample.1")), ("fc.",))


def _mobilenet_v2(backbone: MobileNetV2) -> Body:
    cells = _conv_norm("features.0.0", "features.0.1", "backbone.stem")
    blocks = [f"backbone.stage16.{index}" for index in range(len(backbone.stage16))] + \
        [f"backbone.stage32.{index}" for index in range(len(backbone.stage32))]
    for number, ours in enumerate(blocks, start=1):
        theirs = f"features.{number}.conv"
        layers = ("depthwise",) if number == 1 else ("expand", "depthwise")  # the first block does not expand
        for index, layer in enumerate(layers):
            cells.update(_conv_norm(f"{theirs}.{index}.0", f"{theirs}.{index}.1", f"{ours}.{layer}"))
        cells.update(_conv_norm(f"{theirs}.{len(layers)}", f"{theirs}.{len(layers) + 1}", f"{ours}.project"))
    last = f"features.{len(blocks) + 1}"
    return Body("torchvision", {**cells, **_conv_norm(f"{last}.0", f"{last}.1", "backbone.last")}, ("classifier.",))


def _vgg16(backbone: VGG16) -> Body:
    cells, position, with_norm = {}, 0, backbone.blocks[0][0].norm is not None
    for block, (count, _channels) in enumerate(VGG_BLOCKS):
        for index in range(count):
            ours = f"backbone.blocks.{block}.{index}"
            cells[f"features.{position}"] = f"{ours}.conv"
            if with_norm:
                cells[f"features.{position + 1}"] = f"{ours}.norm"
            position += 3 if with_norm else 2  # convolution, norm, ReLU
        position += 1  # pooling
    return Body("torchvision", cells, ("classifier.",))


def _mobilenet_v1(_backbone: MobileNetV1) -> Body:
    cells, block = _conv_norm("conv_stem", "bn1", "backbone.stem"), 0
    for stage, count in enumerate(TIMM_MOBILENET_V1_BLOCKS):
        for index in range(count):
            theirs, ours = f"blocks.{stage}.{index}", f"backbone.blocks.{block}"
            cells.update(_conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}.depthwise"))
            cells.update(_conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}.pointwise"))
            block += 1
    return Body("timm", cells, ("classifier.",), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


BODIES = {ResNet: _resnet, MobileNetV2: _mobilenet_v2, VGG16: _vgg16, MobileNetV1: _mobilenet_v1}
