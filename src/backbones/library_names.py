"""Names of our backbones' layers in torchvision, timm and MindCV: tables of cells, theirs -> ours."""
from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

from src.backbones.depths import MOBILENET_V2_BLOCKS, MOBILENET_V2_STAGES, VGG16_BLOCKS
from src.backbones.zoo_names import mobilenet_v2_block, res2net_cells, resnet_cells

TIMM_MOBILENET_V1_BLOCKS = (1, 2, 2, 6, 2)  # of each of its stages
RES2NET_STEM = {  # zoo -> timm and MindCV
    "conv1_0": "conv1.0", "bn1_0": "conv1.1", "conv1_1": "conv1.3", "bn1_1": "conv1.4", "conv1_2": "conv1.6"}

# Files that resemble those of a row but are not: names of all their parameters -> the reason for refusing them.
OTHER_RES2NET = {("conv1.weight", "layer1.0.convs.0.weight"): (
    "it is a Res2Net whose stem is one 7x7 convolution (timm's res2net50_26w_4s, MindCV's res2net50). The stem here is "
    "three 3x3 convolutions: take timm's res2net50d or res2net101d, or MindCV's res2net50_v1b or res2net101_v1b")}
OTHER_MOBILENET_V1 = {("features.3.0.weight", "features.15.3.weight"): (
    "MindCV's MobileNetV1 has ReLU where the network here has ReLU6, so its features would be others; take timm's "
    "mobilenetv1_100")}


class LibraryBackbone(NamedTuple):
    """A backbone in another library.

    source: the library. cells: () -> {name of a cell: ours}, the stem's convolution first. classifiers: beginnings of
    the names that only ImageNet's classes need. mean, std: of the RGB input, from 0 to 1, that it was trained with.
    style: the backbone_style with which ours computes the same. refused: see OTHER_RES2NET.
    """

    source: str
    cells: Callable[[], dict]
    classifiers: tuple
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)
    style: str = "pytorch"
    refused: Mapping[tuple, str] = {}


def torchvision_resnet(depth: int, prefix: str = "") -> dict:
    return resnet_cells(depth, prefix, shortcut=("downsample.0", "downsample.1"))


def timm_res2net(depth: int) -> dict:
    cells = res2net_cells(depth, shortcut=("downsample.1", "downsample.2"))
    return {RES2NET_STEM.get(zoo, zoo): ours for zoo, ours in cells.items()}


def mindcv_resnet(depth: int) -> dict:
    return resnet_cells(depth, shortcut=("down_sample.0", "down_sample.1"))


def mindcv_res2net(depth: int) -> dict:
    return {RES2NET_STEM.get(zoo, zoo).replace("down_sample_layer", "down_sample"): ours
            for zoo, ours in res2net_cells(depth).items()}


def torchvision_mobilenet_v2() -> dict:
    cells = _conv_norm("features.0.0", "features.0.1", "backbone.stem")
    for number in range(1, MOBILENET_V2_BLOCKS + 1):
        theirs, ours = f"features.{number}.conv", mobilenet_v2_block(number)
        layers = ("depthwise",) if number == 1 else ("expand", "depthwise")  # the first block has no expansion
        for index, layer in enumerate(layers):
            cells.update(_conv_norm(f"{theirs}.{index}.0", f"{theirs}.{index}.1", f"{ours}.{layer}"))
        cells.update(_conv_norm(f"{theirs}.{len(layers)}", f"{theirs}.{len(layers) + 1}", f"{ours}.project"))
    last = f"features.{MOBILENET_V2_BLOCKS + 1}"
    return {**cells, **_conv_norm(f"{last}.0", f"{last}.1", "backbone.last")}


def timm_mobilenet_v2() -> dict:
    cells, number = _conv_norm("conv_stem", "bn1", "backbone.stem"), 1
    for stage, (_, _, repeats, _) in enumerate(MOBILENET_V2_STAGES):
        for index in range(repeats):
            theirs, ours = f"blocks.{stage}.{index}", mobilenet_v2_block(number)
            layers = {"conv_dw": "depthwise", "conv_pw": "project"} if number == 1 else \
                {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"}
            for layer, (conv, name) in enumerate(layers.items(), start=1):
                cells.update(_conv_norm(f"{theirs}.{conv}", f"{theirs}.bn{layer}", f"{ours}.{name}"))
            number += 1
    return {**cells, **_conv_norm("conv_head", "bn2", "backbone.last")}


def mindcv_mobilenet_v2() -> dict:
    cells = _conv_norm("features.0", "features.1", "backbone.stem")
    for number in range(1, MOBILENET_V2_BLOCKS + 1):
        layers = ("depthwise", "project") if number == 1 else ("expand", "depthwise", "project")
        for index, layer in enumerate(layers):
            theirs = f"features.{number + 2}.layers"  # the stem takes three places; of a block, each layer but the last
            cells.update(_conv_norm(f"{theirs}.{3 * index}", f"{theirs}.{3 * index + 1}",
                                    f"{mobilenet_v2_block(number)}.{layer}"))
    last = MOBILENET_V2_BLOCKS + 3
    return {**cells, **_conv_norm(f"features.{last}", f"features.{last + 1}", "backbone.last")}


def torchvision_vgg16(batch_norm: bool) -> dict:
    cells, position = {}, 0
    for block, (count, _channels) in enumerate(VGG16_BLOCKS):
        for index in range(count):
            ours = f"backbone.blocks.{block}.{index}"
            cells[f"features.{position}"] = f"{ours}.conv"
            if batch_norm:
                cells[f"features.{position + 1}"] = f"{ours}.norm"
            position += 3 if batch_norm else 2  # convolution, norm, ReLU
        position += 1  # pooling
    return cells


def timm_mobilenet_v1() -> dict:
    cells, block = _conv_norm("conv_stem", "bn1", "backbone.stem"), 0
    for stage, count in enumerate(TIMM_MOBILENET_V1_BLOCKS):
        for index in range(count):
            theirs, ours = f"blocks.{stage}.{index}", f"backbone.blocks.{block}"
            cells.update(_conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}.depthwise"))
            cells.update(_conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}.pointwise"))
            block += 1
    return cells


def _conv_norm(conv: str, norm: str, ours: str) -> dict:
    return {conv: f"{ours}.conv", norm: f"{ours}.norm"}
