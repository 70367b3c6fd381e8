"""Parameter names of the old zoo's SSD checkpoints, and of the ImageNet checkpoints they start from -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from typing import Callable

from src.backbones.zoo_names import resnet_cells

# Words of the old checkpoint_filter_list -> beginnings of our names.
FILTER_WORDS = {"multi_loc_layers": "box_predictors", "multi_cls_layers": "class_predictors"}

# Beginnings of names: the classifiers of ImageNet checkpoints, and the layers that SSD added to the bodies.
NOT_FROM_IMAGENET = ("fc.", "end_point.", "classifier.", "head.", "backbone.expand16", "backbone.fc6", "backbone.fc7",
                     "backbone.rescale4")

PREDICTORS = {"loc": "box_predictors", "cls": "class_predictors"}
MOBILENET_V1_BLOCKS = 13
MOBILENET_V2_BLOCKS_AT_STRIDE_16, MOBILENET_V2_BLOCKS = 13, 17
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)


def zoo_cells(model) -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo, for the network of the `model` section."""
    levels = len(model.num_default)
    if model.model_name == "ssd300":
        body = _mobilenet_v2(lambda block: f"network.backbone.features_1.{block}"
                             if block <= MOBILENET_V2_BLOCKS_AT_STRIDE_16 else
                             f"network.backbone.features_2.{block - MOBILENET_V2_BLOCKS_AT_STRIDE_16 - 1}")
        extras = _merged(_inverted_residual(f"network.multi_residual.{index}", f"extras.{index}")
                         for index in range(levels - 2))
        last = _conv_norm("network.backbone.expand_layer_conv_13.features", "backbone.expand16")
        return {**body, **last, **extras, **_predictor_per_map(levels)}
    if model.model_name == "ssd_mobilenet_v1":
        extras = _merged(_conv_norm(f"network.multi_residual.{index}.features", f"extras.{index}")
                         for index in range(levels - 2))
        return {**_mobilenet_v1("network.feature_extractor.mobilenet_v1."), **extras, **_predictor_per_map(levels)}
    if model.model_name == "ssd_vgg16":
        return {**_vgg16(model.ssd_vgg_bn), **_vgg_extras(levels), **_predictor_per_map(levels)}
    body = resnet_cells(50, "network.feature_extractor.resnet.") if model.model_name == "ssd_resnet50_fpn" else \
        _mobilenet_v1("network.feature_extractor.mobilenet_v1.")
    return {**body, **_fpn(levels), **_shared_predictors(levels, model.num_addition_layers)}


def imagenet_cells(model) -> dict:
    """Names of all cells with parameters in an ImageNet checkpoint of the body."""
    if model.model_name == "ssd300":
        return _mobilenet_v2(lambda block: f"features.{block}")
    if model.model_name == "ssd_resnet50_fpn":
        return resnet_cells(50, "")
    if model.model_name == "ssd_vgg16":
        return _vgg16(model.ssd_vgg_bn, imagenet=True)
    return _mobilenet_v1("")


def _merged(tables) -> dict:
    return {zoo: ours for table in tables for zoo, ours in table.items()}


def _conv_norm(zoo: str, ours: str) -> dict:
    return {f"{zoo}.0": f"{ours}.conv", f"{zoo}.1": f"{ours}.norm"}


def _inverted_residual(zoo: str, ours: str, expands: bool = True) -> dict:
    layers = ("expand", "depthwise") if expands else ("depthwise",)
    return {**_merged(_conv_norm(f"{zoo}.conv.{index}.features", f"{ours}.{layer}")
                      for index, layer in enumerate(layers)),
            f"{zoo}.conv.{len(layers)}": f"{ours}.project.conv",
            f"{zoo}.conv.{len(layers) + 1}": f"{ours}.project.norm"}


def _mobilenet_v2(zoo_block: Callable[[int], str]) -> dict:
    """zoo_block: name of a block, 0 being the stem and the one after the last block the last 1x1 convolution."""
    cells = {**_conv_norm(f"{zoo_block(0)}.features", "backbone.stem"),
             **_conv_norm(f"{zoo_block(MOBILENET_V2_BLOCKS + 1)}.features", "backbone.last")}
    for block in range(1, MOBILENET_V2_BLOCKS + 1):
        at_16 = block <= MOBILENET_V2_BLOCKS_AT_STRIDE_16
        ours = f"backbone.stage16.{block - 1}" if at_16 else \
            f"backbone.stage32.{block - MOBILENET_V2_BLOCKS_AT_STRIDE_16 - 1}"
        cells.update(_inverted_residual(zoo_block(block), ours, expands=block > 1))
    return cells


def _mobilenet_v1(zoo: str) -> dict:
    cells = _conv_norm(f"{zoo}network.0", "backbone.stem")
    for block in range(MOBILENET_V1_BLOCKS):
        for layer, name in enumerate(("depthwise", "pointwise"), start=1):
            cells.update(_conv_norm(f"{zoo}network.{2 * block + layer}", f"backbone.blocks.{block}.{name}"))
    return cells


def _vgg16(batch_norm: bool, *, imagenet: bool = False) -> dict:
    """The blocks; an ImageNet file counts their layers through, pooling included, the zoo's SSD per block."""
    cells, position = {}, 0
    for block, count in enumerate(VGG16_CONVOLUTIONS):
        theirs = "layers" if imagenet else f"network.backbone.b{block + 1}"
        position = position if imagenet else 0
        for index in range(count):
            cells[f"{theirs}.{position}"] = f"backbone.blocks.{block}.{index}.conv"
            if batch_norm:
                cells[f"{theirs}.{position + 1}"] = f"backbone.blocks.{block}.{index}.norm"
            position += 3 if batch_norm else 2  # convolution, norm, ReLU
        position += 1
    return cells


def _vgg_extras(levels: int) -> dict:
    cells = {"network.b6_1": "backbone.fc6.conv", "network.b7_1": "backbone.fc7.conv"}
    for index in range(levels - 2):
        cells[f"network.b{index + 8}_1"] = f"extras.{index}.reduce.conv"
        cells[f"network.b{index + 8}_2"] = f"extras.{index}.spatial.conv"
    return cells


def _fpn(levels: int) -> dict:
    zoo, body_levels = "network.feature_extractor", 3
    cells = _merged(_conv_norm(f"{zoo}.bottom_up.blocks.{index}", f"extras.{index}")
                    for index in range(levels - body_levels))
    for level in range(body_levels):
        cells[f"{zoo}.fpn.lateral_convs_list.{level}"] = f"fpn.laterals.{level}"
        cells.update(_conv_norm(f"{zoo}.fpn.fpn_convs_list.{level}", f"fpn.outputs.{level}"))
    return cells


def _predictor_per_map(levels: int) -> dict:
    return {f"network.multi_box.multi_{kind}_layers.{level}.{position}": f"{ours}.{level}.{layer}"
            for kind, ours in PREDICTORS.items() for level in range(levels)
            for position, layer in ((0, "depthwise"), (1, "norm"), (3, "pointwise"))}


def _shared_predictors(levels: int, depth: int) -> dict:
    """The convolutions that all levels share are stored at level 0."""
    cells = {}
    for kind, ours in PREDICTORS.items():
        cells[f"network.multi_box.{kind}_layers.0"] = f"{ours}.output"
        for layer in range(depth):
            zoo = f"network.multi_box.addition_layer_{kind}"
            cells[f"{zoo}.0.{layer}.features.0"] = f"{ours}.convs.{layer}"
            for level in range(levels):
                cells[f"{zoo}.{level}.{layer}.features.1"] = f"{ours}.norms.{level}.{layer}"
    return cells
