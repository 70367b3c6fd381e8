"""Corrects the ONNX files that MindSpore writes."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from src.export.lite import obstacles, suit_lite


def finish_onnx(path: Path, names: Sequence[str]) -> list[str]:
    """Give the outputs of an ONNX file readable names instead of MindSpore's numbers. Write the output size of
    transposed convolutions as ONNX needs it: height and width only. Remove casts that MindSpore wrote twice. Write
    plainly what other programs cannot read. Returns what MindSpore Lite still cannot."""
    import onnx

    model = onnx.load(path)
    nodes = {tuple(node.output): node for node in model.graph.node}
    del model.graph.node[:]
    model.graph.node.extend(nodes.values())
    stack_plainly(model)
    rename(model.graph, {output.name: name for output, name in zip(model.graph.output, names)})
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "ConvTranspose" and attribute.name == "output_shape":
                attribute.ints[:] = attribute.ints[-2:]
    suit_lite(model)
    onnx.save(model, path)
    return obstacles(model)


def rename(graph: Any, names: dict[str, str]) -> None:
    """In place: tensors of a graph by their new names."""
    for tensor in (*graph.input, *graph.output, *graph.initializer):
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def stack_plainly(model: Any) -> None:
    """In place: MindSpore exports ops.stack as a sequence, of which OpenVINO cannot tell the type; Unsqueeze and Concat
    are the same."""
    from onnx import helper

    graph = model.graph
    sequences = {node.output[0]: node for node in graph.node if node.op_type == "SequenceConstruct"}
    nodes = []
    for node in graph.node:
        if node.op_type == "SequenceConstruct":
            continue
        if node.op_type != "ConcatFromSequence":
            nodes.append(node)
            continue
        (stacked,), settings = node.output, {setting.name: setting.i for setting in node.attribute}
        parts = list(sequences[node.input[0]].input)
        if settings.get("new_axis"):
            wider = [f"{stacked}_{number}" for number in range(len(parts))]
            nodes += [helper.make_node("Unsqueeze", [part], [name], axes=[settings["axis"]])
                      for part, name in zip(parts, wider)]
            parts = wider
        nodes.append(helper.make_node("Concat", parts, [stacked], axis=settings["axis"]))
    del graph.node[:]
    graph.node.extend(nodes)
