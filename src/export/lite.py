"""Rewrites ONNX graphs so that MindSpore Lite 2.0.0 converts them and computes the same numbers.

It computes wrong numbers without a message where nodes share an initializer. It refuses boolean ConstantOfShape and
ScatterElements, a Slice that cuts nothing, and numbers of the wrong type that it makes of the indices of TopK.
"""
from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from src.ops.onnx_nodes import OnnxNodes

MASKED = "selected_indices"     # end of the name of what MindSpore's NMSWithMask takes from NonMaxSuppression


def suit_lite(model: Any) -> None:
    """Rewrite a model in place; its outputs stay the same."""
    import onnx

    shapes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
              for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    suppress_plainly(model.graph, shapes)
    skip_what_does_nothing(model.graph)
    separate_indices(model.graph)
    give_each_node_its_own(model.graph)


def obstacles(model: Any) -> list[str]:
    """What of a graph Lite cannot do, or does wrong."""
    from onnx import TensorProto

    graph, found = model.graph, []
    constants = {tensor.name for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    found += [f"initializer {name} has {uses[name]} uses" for name in sorted(constants) if uses[name] > 1]
    behind_topk = {output for node in graph.node if node.op_type == "TopK" for output in node.output}
    for node in graph.node:
        if node.op_type == "ScatterElements":
            found.append(f"{node.output[0]} is made by ScatterElements")
        if node.op_type == "ConstantOfShape" and any(setting.t.data_type == TensorProto.BOOL
                                                     for setting in node.attribute):
            found.append(f"{node.output[0]} is a boolean ConstantOfShape")
        if node.op_type == "Identity" and node.input[0] in behind_topk:
            found.append(f"{node.output[0]} is an Identity behind TopK")
    return found


def suppress_plainly(graph: Any, shapes: dict[str, list[int]]) -> None:
    """Replace what MindSpore writes for NMSWithMask, with boolean ConstantOfShape and ScatterElements and shapes that
    are computed, by operators of fixed shape."""
    makers = {output: node for node in graph.node for output in node.output}
    nodes: list = []
    replaced: dict[str, OnnxNodes] = {}     # by the beginning of the names of a block
    for node in graph.node:
        if node.op_type == "NonMaxSuppression" and node.output[0].endswith(MASKED):
            block = node.output[0].removesuffix(MASKED)
            boxes = makers[f"{block}_0"].input[0]
            count, _ = shapes[boxes]
            replaced[block] = _mask(OnnxNodes(block), boxes, count, node.input[3], f"{block}_2")
    done = set()
    for node in graph.node:
        block = next((name for name in replaced if node.output[0].startswith(name)), None)
        if block is None:
            nodes.append(node)
        elif block not in done:
            done.add(block)
            nodes += replaced[block].nodes
            graph.initializer.extend(replaced[block].constants)
    _set_nodes(graph, nodes)


def _mask(nodes: OnnxNodes, boxes: str, count: int, threshold: str, output: str) -> OnnxNodes:
    """boxes (N, 5) with their scores -> output (N,) bool: whether greedy suppression keeps each."""
    corners = nodes.add("Unsqueeze", nodes.columns(boxes, 0, 4), axes=[0])
    scores = nodes.add("Unsqueeze", nodes.add("Transpose", nodes.columns(boxes, 4, 5), perm=[1, 0]), axes=[0])
    kept = nodes.add("NonMaxSuppression", corners, scores, np.array([count], np.int64), threshold)
    places = nodes.columns(kept, 2, 3)
    numbers = nodes.cast(nodes.add("Squeeze", places, axes=[1]), np.float32)
    ones = nodes.add("Add", nodes.add("Mul", numbers, 0.0), 1.0)
    is_kept = nodes.add("ScatterND", np.zeros(count, np.float32), places, ones)
    nodes.add("Greater", is_kept, 0.5)
    nodes.nodes[-1].output[0] = output
    return nodes


def skip_what_does_nothing(graph: Any) -> None:
    """Remove Identity, and Slice of no axis, but where the result is an output."""
    empty = {tensor.name for tensor in graph.initializer if list(tensor.dims) == [0]}
    outputs: set[str] = {output.name for output in graph.output}
    same: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
        idle = node.op_type == "Identity" or node.op_type == "Slice" and node.input[1] in empty
        if idle and node.output[0] not in outputs:
            same[node.output[0]] = node.input[0]
        else:
            nodes.append(node)
    _set_nodes(graph, nodes)


def separate_indices(graph: Any) -> None:
    """Add 0 to the indices of TopK after the first cast: Lite takes them for float32 until then, and would join this
    cast with the next one."""
    indices, nodes = set(), []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "TopK":
            indices.add(node.output[1])
        elif node.op_type == "Cast" and node.input[0] in indices:
            name = node.output[0]
            node.output[0] = f"{name}/cast"
            sum_of = OnnxNodes(f"{name}/sum")
            sum_of.add("Add", node.output[0], _zero_of(node))
            sum_of.nodes[0].output[0] = name
            nodes += sum_of.nodes
            graph.initializer.extend(sum_of.constants)
    _set_nodes(graph, nodes)


def _zero_of(cast: Any) -> np.ndarray:
    """0 in the type that a node casts to."""
    from onnx import helper

    return np.zeros(1, helper.tensor_dtype_to_np_dtype(cast.attribute[0].i))


def give_each_node_its_own(graph: Any) -> None:
    """A copy of each initializer for every use but the first; those without a use go. Pyramids, which share weights
    between levels, become larger that way."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    uses: Counter = Counter()
    kept = []
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name not in constants:
                continue
            uses[name] += 1
            kept.append(type(constants[name])())
            kept[-1].CopyFrom(constants[name])
            if uses[name] > 1:
                kept[-1].name = node.input[place] = f"{name}/copy{uses[name]}"
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _set_nodes(graph: Any, nodes: list) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
