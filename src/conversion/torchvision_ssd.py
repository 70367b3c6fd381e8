"""ssd300_vgg16 of torchvision: names and layout of its weights, for our SSD with VGG16 and ssd_style torchvision."""
from __future__ import annotations

from typing import Optional

import numpy as np
from mindspore import nn

from src.backbones.depths import VGG16_BLOCKS
from src.conversion.coco_classes import COCO_OUTPUTS, UNUSED_IDS, without_unused_ids
from src.conversion.naming import Naming

FACTORS = "backbone.scale_weight"
CLASSES, BOXES = "head.classification_head.module_list", "head.regression_head.module_list"
OURS_FROM_THEIRS = (1, 0, 3, 2)  # x, y, width, height -> y, x, height, width


def ssd_namings(detector, network: nn.Cell) -> list:
    """The detector of torchvision, for a network with its layers."""
    levels = len(network.box_predictors.output_layers)
    cells, outputs = _cells(levels), len(detector.classes) + 1

    def rename(name: str) -> Optional[str]:
        cell, _, word = name.rpartition(".")
        return "backbone.rescale4.factors" if name == FACTORS else cell in cells and f"{cells[cell]}.{word}" or None

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        for level, layer in enumerate(network.box_predictors.output_layers):
            boxes = layer.out_channels // 4
            # torchvision's order in a cell: the square box, the larger square box, the others. Ours has the larger
            # square box last.
            order = [0, *range(2, boxes), 1]
            for word in ("weight", "bias"):
                name = f"{BOXES}.{level}.{word}"
                if name in result and len(result[name]) == 4 * boxes:
                    result[name] = _reordered(result[name], boxes, order)[:, OURS_FROM_THEIRS]
                    result[name] = result[name].reshape(-1, *arrays[name].shape[1:])
                name = f"{CLASSES}.{level}.{word}"
                if name in result and len(result[name]) % boxes == 0:
                    rows = _reordered(result[name], boxes, order)
                    if rows.shape[1] == COCO_OUTPUTS == outputs + len(UNUSED_IDS):
                        rows = np.stack([without_unused_ids(of_box) for of_box in rows])
                    result[name] = rows.reshape(-1, *arrays[name].shape[1:])
        return result

    data = detector.config.data
    return [Naming("torchvision", "detector", rename, lambda _name: None, bool, prepare,
                   lambda _arrays: {"backbone_style": "pytorch", "ssd_style": "torchvision", "mean": data.mean,
                                    "std": data.std})]


def _reordered(array: np.ndarray, boxes: int, order: list) -> np.ndarray:
    """(boxes * n, ...) -> (boxes, n, ...) with the boxes in that order."""
    return array.reshape(boxes, -1, *array.shape[1:])[order]


def _cells(levels: int) -> dict:
    cells, position = {}, 0
    for block, (count, _) in enumerate(VGG16_BLOCKS):
        last = block == len(VGG16_BLOCKS) - 1  # it begins with the pooling in front of it, in a part of its own
        for index in range(count):
            theirs = f"backbone.extra.0.{1 + 2 * index}" if last else f"backbone.features.{position + 2 * index}"
            cells[theirs] = f"backbone.blocks.{block}.{index}.conv"
        position += 2 * count + 1  # convolutions and ReLUs, then pooling
    cells.update({"backbone.extra.0.7.1": "backbone.fc6.conv", "backbone.extra.0.7.3": "backbone.fc7.conv"})
    for index in range(levels - 2):
        cells[f"backbone.extra.{index + 1}.0"] = f"extras.{index}.reduce.conv"
        cells[f"backbone.extra.{index + 1}.2"] = f"extras.{index}.spatial.conv"
    for level in range(levels):
        cells[f"{CLASSES}.{level}"] = f"class_predictors.{level}.output_layer"
        cells[f"{BOXES}.{level}"] = f"box_predictors.{level}.output_layer"
    return cells
