"""Names of body parameters in checkpoints of the old zoo and of ImageNet, which agree but for a prefix -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

# He et al. 2015, table 1: bottleneck blocks per stage.
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet_cells(prefix: str, depth: int, shortcut: str = "down_sample_layer") -> dict:
    """{their cell: ours} of a ResNet. shortcut: their word for the projection of a stage's first block."""
    cells = {f"{prefix}conv1": "backbone.stem.conv", f"{prefix}bn1": "backbone.stem.norm"}
    for stage, count in enumerate(RESNET_BLOCKS[depth]):
        for block in range(count):
            theirs, ours = f"{prefix}layer{stage + 1}.{block}", f"backbone.stages.{stage}.{block}"
            for layer, name in enumerate(("reduce", "spatial", "expand"), start=1):
                cells[f"{theirs}.conv{layer}"] = f"{ours}.{name}.conv"
                cells[f"{theirs}.bn{layer}"] = f"{ours}.{name}.norm"
        theirs, ours = f"{prefix}layer{stage + 1}.0.{shortcut}", f"backbone.stages.{stage}.0.shortcut"
        cells[f"{theirs}.0"], cells[f"{theirs}.1"] = f"{ours}.conv", f"{ours}.norm"
    return cells


def renamed(name: str, cells: dict) -> str | None:
    """Our name of a parameter, None if its cell is not in the table (optimizer state)."""
    cell, _, leaf = name.rpartition(".")
    return f"{cells[cell]}.{leaf}" if cell in cells else None
