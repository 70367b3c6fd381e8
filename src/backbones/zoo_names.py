"""Names of shared backbones' layers in the old zoo -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from typing import Callable, Sequence

from src.backbones.depths import (
    MOBILENET_V1_BLOCKS,
    MOBILENET_V2_BLOCKS,
    MOBILENET_V2_BLOCKS_AT_STRIDE_16,
    RESNET_BLOCKS,
    VGG16_BLOCKS,
)


def renamed(name: str, cells: dict) -> str | None:
    """Our name of a parameter, None if its cell is not in the table (optimizer state)."""
    cell, _, leaf = name.rpartition(".")
    return f"{cells[cell]}.{leaf}" if cell in cells else None


def resnet_cells(depth: int, zoo: str = "",
                 shortcut: Sequence[str] = ("down_sample_layer.0", "down_sample_layer.1")) -> dict:
    """Cells of a ResNet whose names begin with `zoo`. shortcut: the names of its convolution and its norm."""
    cells = {f"{zoo}conv1": "backbone.stem.conv", f"{zoo}bn1": "backbone.stem.norm"}
    for _, block, theirs, ours in _blocks(depth, zoo):
        for layer, name in enumerate(("reduce", "spatial", "expand"), start=1):
            cells.update({f"{theirs}.conv{layer}": f"{ours}.{name}.conv", f"{theirs}.bn{layer}": f"{ours}.{name}.norm"})
        if block == 0:
            cells.update(_shortcut(theirs, ours, shortcut))
    return cells


def res2net_cells(depth: int, zoo: str = "", shortcut: Sequence[str] | None = None) -> dict:
    """Cells of a Res2Net. Without `shortcut`: the names in ImageNet files, which may count a pooling layer first."""
    cells = {}
    for index, (conv, norm) in enumerate((("conv1_0", "bn1_0"), ("conv1_1", "bn1_1"), ("conv1_2", "bn1"))):
        cells.update({f"{zoo}{conv}": f"backbone.stem.{index}.conv", f"{zoo}{norm}": f"backbone.stem.{index}.norm"})
    for stage, block, theirs, ours in _blocks(depth, zoo):
        for layer, name in ((1, "reduce"), (3, "expand")):
            cells.update({f"{theirs}.conv{layer}": f"{ours}.{name}.conv", f"{theirs}.bn{layer}": f"{ours}.{name}.norm"})
        for group in range(3):
            cells.update({f"{theirs}.convs.{group}": f"{ours}.groups.{group}.conv",
                          f"{theirs}.bns.{group}": f"{ours}.groups.{group}.norm"})
        if block == 0:
            first = 0 if stage == 0 else 1
            cells.update(_shortcut(theirs, ours, shortcut or (f"down_sample_layer.{first}",
                                                              f"down_sample_layer.{first + 1}")))
    return cells


def _blocks(depth: int, zoo: str):
    for stage, count in enumerate(RESNET_BLOCKS[depth]):
        for block in range(count):
            yield stage, block, f"{zoo}layer{stage + 1}.{block}", f"backbone.stages.{stage}.{block}"


def _shortcut(theirs: str, ours: str, names: Sequence[str]) -> dict:
    conv, norm = names
    return {f"{theirs}.{conv}": f"{ours}.shortcut.conv", f"{theirs}.{norm}": f"{ours}.shortcut.norm"}


def mobilenet_v1_cells(zoo: str = "") -> dict:
    """Cells of a MobileNetV1 whose names begin with `zoo`."""
    cells = conv_norm_cells(f"{zoo}network.0", "backbone.stem")
    for block in range(len(MOBILENET_V1_BLOCKS)):
        for layer, name in enumerate(("depthwise", "pointwise"), start=1):
            cells.update(conv_norm_cells(f"{zoo}network.{2 * block + layer}", f"backbone.blocks.{block}.{name}"))
    return cells


def mobilenet_v2_cells(zoo_block: Callable[[int], str] = "features.{}".format) -> dict:
    """A MobileNetV2. zoo_block: name of a block, 0 being the stem and the one after the last block the last 1x1
    convolution."""
    cells = {**conv_norm_cells(f"{zoo_block(0)}.features", "backbone.stem"),
             **conv_norm_cells(f"{zoo_block(MOBILENET_V2_BLOCKS + 1)}.features", "backbone.last")}
    for block in range(1, MOBILENET_V2_BLOCKS + 1):
        cells.update(inverted_residual_cells(zoo_block(block), mobilenet_v2_block(block), expands=block > 1))
    return cells


def mobilenet_v2_block(number: int) -> str:
    """Our name of a block, counted from 1."""
    if number <= MOBILENET_V2_BLOCKS_AT_STRIDE_16:
        return f"backbone.stage16.{number - 1}"
    return f"backbone.stage32.{number - MOBILENET_V2_BLOCKS_AT_STRIDE_16 - 1}"


def inverted_residual_cells(zoo: str, ours: str, expands: bool = True) -> dict:
    layers = ("expand", "depthwise") if expands else ("depthwise",)
    cells = {f"{zoo}.conv.{len(layers)}": f"{ours}.project.conv",
             f"{zoo}.conv.{len(layers) + 1}": f"{ours}.project.norm"}
    for index, layer in enumerate(layers):
        cells.update(conv_norm_cells(f"{zoo}.conv.{index}.features", f"{ours}.{layer}"))
    return cells


def vgg16_cells(batch_norm: bool, zoo_block: str = "") -> dict:
    """The blocks of a VGG16. An ImageNet file counts the layers through, pooling included; zoo_block: name of a block,
    {} being its number from 1, where each block counts its own."""
    cells, position = {}, 0
    for block, (count, _) in enumerate(VGG16_BLOCKS):
        theirs, position = (zoo_block.format(block + 1), 0) if zoo_block else ("layers", position)
        for index in range(count):
            cells[f"{theirs}.{position}"] = f"backbone.blocks.{block}.{index}.conv"
            if batch_norm:
                cells[f"{theirs}.{position + 1}"] = f"backbone.blocks.{block}.{index}.norm"
            position += 3 if batch_norm else 2  # convolution, norm, ReLU
        position += 1
    return cells


def conv_norm_cells(zoo: str, ours: str) -> dict:
    return {f"{zoo}.0": f"{ours}.conv", f"{zoo}.1": f"{ours}.norm"}
