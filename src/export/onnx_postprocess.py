"""Puts what is done before and after the network into its ONNX file: export.py --with_postprocess True."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from src.evaluation.postprocessed import PostprocessedDetector
from src.export.onnx_graph import rename
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor

NETWORK = "network/"    # beginning of the names of the network's own outputs


def add_postprocess(path: Path, detector: PostprocessedDetector) -> None:
    """Rewrite the ONNX file of a network: it then takes a resized image and returns detections.

    Inputs: images (1, H, W, 3) RGB, uint8, or float32 for models that resize float32 images; the network's further
    inputs; original_size (1, 2) float32, height and width of the image before it was resized.
    Outputs: detections (1, N, 6), and masks (1, N, s, s) of a model with masks; see `Detector.add_decoding`. All
    detections are NaN if a number of the network's outputs is NaN or infinity: decoding would only find fewer.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    graph, before, after = model.graph, OnnxNodes("preprocess"), OnnxNodes("postprocess")
    rename(graph, {output.name: NETWORK + output.name for output in graph.output})
    images, *further = (item.name for item in graph.input)
    normalised = add_normalisation(before, images, detector, further)
    for node in graph.node:
        node.input[:] = [normalised if name == images else name for name in node.input]
    original_size = detector.input_names[-1]
    outputs = [OnnxTensor(output.name, tuple(side.dim_value for side in output.type.tensor_type.shape.dim))
               for output in graph.output]
    detections, *masks = detector.add_decoding(after, outputs, original_size, further)
    numbers = [output.name for output in graph.output if output.type.tensor_type.elem_type == TensorProto.FLOAT]
    checked = OnnxTensor(after.add("Add", detections.name, _zero_or_nan(after, numbers)), detections.shape)
    found = [OnnxTensor(after.add("Unsqueeze", tensor.name, axes=[0]), (1, *tensor.shape))
             for tensor in (checked, *masks)]

    of_network = list(graph.node)
    del graph.node[:], graph.output[:]
    graph.node.extend([*before.nodes, *of_network, *after.nodes])
    graph.initializer.extend([*before.constants, *after.constants])
    graph.input[0].CopyFrom(helper.make_tensor_value_info(
        images, helper.np_dtype_to_tensor_dtype(np.dtype(detector.image_type)), (1, *detector.input_size, 3)))
    graph.input.append(helper.make_tensor_value_info(original_size, TensorProto.FLOAT, (1, 2)))
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in found)
    rename(graph, {tensor.name: name for tensor, name in zip(found, detector.output_names)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def add_normalisation(nodes: OnnxNodes, images: str, detector: Any, further_inputs: list[str]) -> str:
    """images (1, H, W, 3) RGB -> the network's (1, 3, H, W), normalised; beside the image what the model was trained
    with: the normalised black, or 0."""
    said = detector.detector.export_description()["input"]
    values = nodes.cast(images, np.float32)
    if said["channels"] == "BGR":
        values = nodes.add("Gather", values, np.array([2, 1, 0], np.int64), axis=3)
    mean, std = (np.array(said[name], np.float32) for name in ("mean", "std"))
    values = nodes.add("Div", nodes.add("Sub", values, mean), std)
    if said.get("padding") == "mean":
        values = nodes.add("Mul", values, _inside(nodes, further_inputs[0], detector.input_size))
    return nodes.add("Transpose", values, perm=[0, 3, 1, 2])


def _zero_or_nan(nodes: OnnxNodes, tensors: list[str]) -> str:
    """A scalar: 0, or NaN if a number of the tensors is NaN or infinity."""
    sums = [nodes.add("ReduceSum", nodes.add("Mul", tensor, 0.0), keepdims=0) for tensor in tensors]
    return nodes.add("Sum", *sums)


def _inside(nodes: OnnxNodes, resized_size: str, input_size: tuple[int, int]) -> str:
    """(1, H, W, 1) float32: 1 in the upper left part of resized_size (1, 2), height and width, 0 beside it."""
    height, width = input_size
    rows, columns = (nodes.add("Less", np.arange(side, dtype=np.float32).reshape(shape),
                               nodes.columns(resized_size, axis, axis + 1))
                     for axis, (side, shape) in enumerate([(height, (1, height, 1)), (width, (1, 1, width))]))
    return nodes.cast(nodes.add("Unsqueeze", nodes.add("And", rows, columns), axes=[3]), np.float32)
