"""Parameter names of the old zoo's SSD checkpoints, and of the ImageNet checkpoints they start from -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from src.backbones.zoo_names import conv_norm_cells, inverted_residual_cells

# Words of the old checkpoint_filter_list -> beginnings of our names.
FILTER_WORDS = {"multi_loc_layers": "box_predictors", "multi_cls_layers": "class_predictors"}

# Beginnings of names: the classifiers of ImageNet checkpoints, and the layers that SSD added to the backbones.
NOT_FROM_IMAGENET = ("fc.", "end_point.", "classifier.", "head.", "backbone.expand16", "backbone.fc6", "backbone.fc7",
                     "backbone.rescale4")

PREDICTORS = {"loc": "box_predictors", "cls": "class_predictors"}


def zoo_cells(model) -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo, for the network of the `model` section."""
    variant, levels = model.variant, len(model.num_default)
    cells = {**model.backbone.zoo_cells(**variant.zoo_spelling), **EXTRAS[variant.extra](levels - variant.maps)}
    if variant.fpn:
        return {**cells, **_fpn(variant.maps), **_shared_predictors(levels, model.num_addition_layers)}
    return {**cells, **_predictor_per_map(levels)}


def _mobilenet_v2_extras(count: int) -> dict:
    cells = conv_norm_cells("network.backbone.expand_layer_conv_13.features", "backbone.expand16")
    for index in range(count):
        cells.update(inverted_residual_cells(f"network.multi_residual.{index}", f"extras.{index}"))
    return cells


def _mobilenet_v1_extras(count: int) -> dict:
    cells = {}
    for index in range(count):
        cells.update(conv_norm_cells(f"network.multi_residual.{index}.features", f"extras.{index}"))
    return cells


def _vgg_extras(count: int) -> dict:
    cells = {"network.b6_1": "backbone.fc6.conv", "network.b7_1": "backbone.fc7.conv"}
    for index in range(count):
        cells[f"network.b{index + 8}_1"] = f"extras.{index}.reduce.conv"
        cells[f"network.b{index + 8}_2"] = f"extras.{index}.spatial.conv"
    return cells


def _pyramid_extras(count: int) -> dict:
    cells = {}
    for index in range(count):
        cells.update(conv_norm_cells(f"network.feature_extractor.bottom_up.blocks.{index}", f"extras.{index}"))
    return cells


EXTRAS = {"inverted residual": _mobilenet_v2_extras, "convolution": _mobilenet_v1_extras, "VGG": _vgg_extras,
          "pyramid": _pyramid_extras}


def _fpn(maps: int) -> dict:
    zoo, cells = "network.feature_extractor.fpn", {}
    for level in range(maps):
        cells[f"{zoo}.lateral_convs_list.{level}"] = f"fpn.laterals.{level}"
        cells.update(conv_norm_cells(f"{zoo}.fpn_convs_list.{level}", f"fpn.outputs.{level}"))
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
