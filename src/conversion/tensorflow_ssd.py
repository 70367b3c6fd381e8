"""ssdlite_mobilenet_v2 of TensorFlow's Object Detection API: the detector that the zoo's ssd300 rebuilt.

Layers, padding, order of the boxes in a cell, box encoding and scores agree. What differs are settings: mean and std of
the input, and the steps of the priors, which lie in the middle of the cells.
"""
from __future__ import annotations

import math
from typing import Optional

import numpy as np
from mindspore import nn

from src.backbones.depths import MOBILENET_V2_BLOCKS
from src.backbones.zoo_names import mobilenet_v2_block
from src.conditions import norm_eps
from src.conversion.coco_classes import COCO_CLASSES, COCO_OUTPUTS, UNUSED_IDS
from src.conversion.naming import Naming

FEATURES = "FeatureExtractor/MobilenetV2"
KINDS = {"BoxEncodingPredictor": "box_predictors", "ClassPredictor": "class_predictors"}
CLASSES = "/ClassPredictor/"
WEIGHTS, DEPTHWISE, BIASES = "/weights", "/depthwise_weights", "/biases"
FIRST_STRIDE = 16
NORM_WORDS = ("gamma", "beta", "moving_mean", "moving_variance")
# In TensorFlow one layer gives the first map and is the input of the second; ours are two layers.
COPIES = {"backbone.expand16": "backbone.stage32.0.expand"}
COCO_IDS = dict(zip(COCO_CLASSES, (number for number in range(1, COCO_OUTPUTS) if number not in UNUSED_IDS)))


def tensorflow_namings(detector, network: nn.Cell) -> list:
    """The detector of TensorFlow, for a network with its layers."""
    model = detector.config.model
    names = _names(model.extras_out_channels)
    words = (WEIGHTS, DEPTHWISE, BIASES, *(f"/{word}" for word in NORM_WORDS))
    boxes = dict(enumerate(model.num_default))

    def reason_to_ignore(name: str) -> Optional[str]:
        return None if name in names or name.endswith(words) else "a constant of the graph, not a weight"

    def prepare(arrays: dict) -> dict:
        return {name: _as_ours(name, array, boxes, detector.classes) if name in names else array
                for name, array in arrays.items()}

    cells = [math.ceil(model.img_shape[0] / FIRST_STRIDE)]
    while len(cells) < len(model.num_default):
        cells.append(math.ceil(cells[-1] / 2))
    conditions = {"backbone_style": "zoo", "norm_eps": norm_eps(network.backbone), "mean": [0.5] * 3, "std": [0.5] * 3,
                  "steps": [model.img_shape[0] / rows for rows in cells]}
    return [Naming("tensorflow", "detector", names.get, reason_to_ignore, bool, prepare, lambda _arrays: conditions,
                   COPIES)]


def _names(extras_channels: list) -> dict:
    """{TensorFlow's name of an array: ours}."""
    cells = {f"{FEATURES}/Conv": "backbone.stem", f"{FEATURES}/Conv_1": "backbone.last"}
    for number in range(MOBILENET_V2_BLOCKS):
        theirs = f"{FEATURES}/expanded_conv" + (f"_{number}" if number else "")
        for layer in ("expand", "depthwise", "project") if number else ("depthwise", "project"):
            cells[f"{theirs}/{layer}"] = f"{mobilenet_v2_block(number + 1)}.{layer}"
    for index, channels in enumerate(extras_channels[2:]):
        last = f"{FEATURES}/layer_19_2_Conv2d_{index + 2}_3x3_s2_{channels}"
        cells[f"{FEATURES}/layer_19_1_Conv2d_{index + 2}_1x1_{channels // 2}"] = f"extras.{index}.expand"
        cells.update({f"{last}_depthwise": f"extras.{index}.depthwise", last: f"extras.{index}.project"})
    layers = [(theirs, f"{ours}.conv", f"{ours}.norm") for theirs, ours in cells.items()]
    layers += [(f"BoxPredictor_{level}/{kind}_depthwise", f"{ours}.{level}.depthwise", f"{ours}.{level}.norm")
               for kind, ours in KINDS.items() for level in range(len(extras_channels))]
    names = {}
    for theirs, conv, norm in layers:
        names[theirs + (DEPTHWISE if theirs.endswith("depthwise") else WEIGHTS)] = f"{conv}.weight"
        names.update({f"{theirs}/BatchNorm/{word}": f"{norm}.{word}" for word in NORM_WORDS})
    for kind, ours in KINDS.items():
        for level in range(len(extras_channels)):
            names[f"BoxPredictor_{level}/{kind}{WEIGHTS}"] = f"{ours}.{level}.pointwise.weight"
            names[f"BoxPredictor_{level}/{kind}{BIASES}"] = f"{ours}.{level}.pointwise.bias"
    return names


def _as_ours(name: str, array: np.ndarray, boxes: dict, classes: tuple) -> np.ndarray:
    """The array with its output channels first; from a class predictor, the outputs of our classes."""
    if name.endswith(DEPTHWISE) and array.ndim == 4:
        return array.transpose(2, 3, 0, 1)
    if name.endswith(WEIGHTS) and array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    if CLASSES in name:
        level = int(name[len("BoxPredictor_"):name.index("/")])
        return _of_classes(array, boxes[level], classes)
    return array


def _of_classes(array: np.ndarray, boxes: int, classes: tuple) -> np.ndarray:
    """Rows of a class predictor, (boxes * outputs, ...) -> (boxes * (our classes + 1), ...).

    A detector of COCO has an output for each id up to 90. If all our classes are COCO's, the outputs of background and
    of our classes are taken; otherwise the array is returned as it is.
    """
    if len(array) != boxes * COCO_OUTPUTS or not set(classes) <= set(COCO_IDS):
        return array
    outputs = [0, *(COCO_IDS[name] for name in classes)]
    return array.reshape(boxes, COCO_OUTPUTS, *array.shape[1:])[:, outputs].reshape(-1, *array.shape[1:])
