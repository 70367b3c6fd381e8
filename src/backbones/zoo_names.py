"""Names that the old zoo gave to the layers of bodies which several families share -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from typing import Sequence

from src.backbones.depths import RESNET_BLOCKS


def renamed(name: str, cells: dict) -> str | None:
    """Our name of a parameter, None if its cell is not in the table (optimizer state)."""
    cell, _, leaf = name.rpartition(".")
    return f"{cells[cell]}.{leaf}" if cell in cells else None


def resnet_cells(depth: int, zoo: str,
                 shortcut: Sequence[str] = ("down_sample_layer.0", "down_sample_layer.1")) -> dict:
    """A ResNet whose names begin with `zoo`. shortcut: what they call its convolution and its norm."""
    cells = {f"{zoo}conv1": "backbone.stem.conv", f"{zoo}bn1": "backbone.stem.norm"}
    for _, block, theirs, ours in _blocks(depth, zoo):
        for layer, name in enumerate(("reduce", "spatial", "expand"), start=1):
            cells.update({f"{theirs}.conv{layer}": f"{ours}.{name}.conv", f"{theirs}.bn{layer}": f"{ours}.{name}.norm"})
        if block == 0:
            cells.update(_shortcut(theirs, ours, shortcut))
    return cells


def res2net_cells(depth: int, zoo: str, shortcut: Sequence[str] | None = None) -> dict:
    """A Res2Net likewise; without `shortcut` as in its ImageNet files, where a pooling layer may be counted first."""
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
