"""ONNX files in the place of exported networks: they return the same outputs for every image."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = ("cat", "dog", "bird")


def write_network(path: Path, detector, outputs: list) -> None:
    """An ONNX file with the inputs and outputs of a detector's network."""
    nodes, constants, shapes = [], [], {"images": (1, 3, *detector.input_size), "image_sizes": (1, 2)}
    for name, value in zip(detector.output_names, outputs):
        constants.append(numpy_helper.from_array(value[None], name + "_value"))
        nodes.append(helper.make_node("Identity", [name + "_value"], [name]))
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in detector.input_names],
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), (1, *value.shape))
         for name, value in zip(detector.output_names, outputs)], initializer=constants)
    save(graph, path)


def save(graph, path: Path) -> None:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


def ssd_outputs(_detector) -> list:
    """Boxes in clusters, so that many are suppressed; scores of background and classes."""
    rng = np.random.default_rng(1)
    centers = np.repeat(rng.uniform(0.2, 0.8, (40, 2)), 10, axis=0) + rng.normal(0, 0.02, (400, 2))
    sides = rng.uniform(0.05, 0.4, (400, 2))
    boxes = np.clip(np.concatenate([centers - sides / 2, centers + sides / 2], axis=1), 0, 1)
    return [boxes.astype(np.float32), rng.random((400, 1 + len(CLASSES)), np.float32)]


def two_stage_outputs(detector) -> list:
    """30 boxes in all of the canvas, some beside the image; every fifth row is padding."""
    rng = np.random.default_rng(2)
    height, width = detector.input_size
    first = rng.uniform(0, 0.9, (30, 2)) * [width, height]
    last = np.minimum(first + rng.uniform(2, 60, (30, 2)), [width - 1, height - 1])
    scores = np.sort(rng.random(30))[::-1]
    boxes = np.column_stack([first, last, scores]).astype(np.float32)
    valid = (np.arange(30) % 5 != 4)[:, None]
    labels = rng.integers(0, len(CLASSES), (30, 1), dtype=np.int32)
    masks = [rng.random((30, 28, 28), np.float32)] if detector.with_masks else []
    return [boxes, labels, valid, *masks]


def centernet_outputs(_detector) -> list:
    """100 peaks of which many overlap, some of them below the least score of soft-NMS, the last ten are none."""
    rng = np.random.default_rng(3)
    centers = np.repeat(rng.uniform(4, 28, (20, 2)), 5, axis=0) + rng.normal(0, 0.5, (100, 2))
    sides = rng.uniform(2, 12, (100, 2))
    scores = np.sort(np.concatenate([rng.uniform(0.01, 1, 80), rng.uniform(0, 0.002, 10), np.zeros(10)]))[::-1]
    labels = rng.integers(0, len(CLASSES), 100)
    return [np.column_stack([centers - sides / 2, centers + sides / 2, scores, labels]).astype(np.float32)]
