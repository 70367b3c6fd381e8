"""How PyTorch's libraries name the layers of our backbones: tables of cells, theirs -> ours."""
from __future__ import annotations

from typing import Callable, NamedTuple

from src.backbones.depths import MOBILENET_V2_BLOCKS, VGG16_BLOCKS
from src.backbones.zoo_names import mobilenet_v2_block, res2net_cells, resnet_cells

TIMM_MOBILENET_V1_BLOCKS = (1, 2, 2, 6, 2)  # of each of its stages
TIMM_RES2NET_STEM = {  # zoo -> timm
    "conv1_0": "conv1.0", "bn1_0": "conv1.1", "conv1_1": "conv1.3", "bn1_1": "conv1.4", "conv1_2": "conv1.6"}


class PyTorchBackbone(NamedTuple):
    """A network of PyTorch.

    source: the library. cells: () -> {name of a cell: ours}, the stem's convolution first. classifiers: beginnings of
    the names that only ImageNet's classes need. mean, std: of the RGB input, from 0 to 1, that it was trained with.
    """

    source: str
    cells: Callable[[], dict]
    classifiers: tuple
    mean: tuple = (0.485, 0.456, 0.406)
    std: tuple = (0.229, 0.224, 0.225)


def torchvision_resnet(depth: int, prefix: str = "") -> dict:
    return resnet_cells(depth, prefix, shortcut=("downsample.0", "downsample.1"))


def timm_res2net(depth: int) -> dict:
    cells = res2net_cells(depth, shortcut=("downsample.1", "downsample.2"))
    return {TIMM_RES2NET_STEM.get(zoo, zoo): ours for zoo, ours in cells.items()}


def torchvision_mobilenet_v2() -> dict:
    cells = _conv_norm("features.0.0", "features.0.1", "backbone.stem")
    for number in range(1, MOBILENET_V2_BLOCKS + 1):
        theirs, ours = f"features.{number}.conv", mobilenet_v2_block(number)
        layers = ("depthwise",) if number == 1 else ("expand", "depthwise")  # the first block does not expand
        for index, layer in enumerate(layers):
            cells.update(_conv_norm(f"{theirs}.{index}.0", f"{theirs}.{index}.1", f"{ours}.{layer}"))
        cells.update(_conv_norm(f"{theirs}.{len(layers)}", f"{theirs}.{len(layers) + 1}", f"{ours}.project"))
    last = f"features.{MOBILENET_V2_BLOCKS + 1}"
    return {**cells, **_conv_norm(f"{last}.0", f"{last}.1", "backbone.last")}


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
