"""Writes ONNX operators as function calls, for what MindSpore's exporter does not write."""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence, Union

import numpy as np

# The row of an output of detections that is none.
NO_DETECTION = np.array([[0, 0, 0, 0, 0, -1]], np.float32)
Operand = Union[str, float, np.ndarray]     # the name of a tensor, or the numbers themselves; Python's are float32


class OnnxTensor(NamedTuple):
    """Name and shape of a tensor of a graph."""

    name: str
    shape: tuple[int, ...]


class OnnxNodes:
    """Nodes in the order in which they run, and their constants; for opset 11, in which MindSpore exports.

    prefix: beginning of the names of all nodes and tensors. Every constant gets a name of its own: MindSpore Lite 2.0
    computes wrong numbers where two nodes share one.
    """

    def __init__(self, prefix: str = "postprocess"):
        self.prefix = prefix
        self.nodes: list = []
        self.constants: list = []

    def add(self, operator: str, *operands: Operand, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or a list of names if it has several."""
        from onnx import helper

        number = len(self.nodes)
        names = [f"{self.prefix}/{number}_{operator}" + (f"_{index}" if index else "") for index in range(outputs)]
        inputs = [operand if isinstance(operand, str) else self.constant(operand) for operand in operands]
        self.nodes.append(helper.make_node(operator, inputs, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Union[float, np.ndarray]) -> str:
        """The name of a new tensor with these numbers."""
        from onnx import numpy_helper

        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        name = f"{self.prefix}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def loop(self, steps: int, states: Sequence[OnnxTensor],
             step: Callable[[OnnxNodes, list[str]], list[str]]) -> list[str]:
        """The float32 states after a number of steps.

        step: adds the nodes of one step to nodes of its own; names of the states -> names of the new states. It may
        use tensors from outside, too.
        """
        from onnx import TensorProto, helper

        inner = OnnxNodes(f"{self.prefix}/{len(self.nodes)}_step")
        before = [f"{inner.prefix}/state_{index}" for index in range(len(states))]
        going_on = inner.add("Identity", f"{inner.prefix}/going_on")
        after = step(inner, before)
        graph = helper.make_graph(
            inner.nodes, inner.prefix,
            [helper.make_tensor_value_info(f"{inner.prefix}/number", TensorProto.INT64, []),
             helper.make_tensor_value_info(f"{inner.prefix}/going_on", TensorProto.BOOL, []),
             *(helper.make_tensor_value_info(name, TensorProto.FLOAT, state.shape)
               for name, state in zip(before, states))],
            [helper.make_tensor_value_info(going_on, TensorProto.BOOL, []),
             *(helper.make_tensor_value_info(name, TensorProto.FLOAT, state.shape)
               for name, state in zip(after, states))],
            initializer=inner.constants)
        found = self.add("Loop", np.array(steps, np.int64), np.array(True), *(state.name for state in states),
                         outputs=len(states), body=graph)
        return found if isinstance(found, list) else [found]

    # Operators whose form in opset 11 is long

    def cast(self, tensor: str, dtype: Any) -> str:
        """The tensor as numbers of another type of numpy."""
        from onnx import helper

        return self.add("Cast", tensor, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def columns(self, tensor: str, first: int, last: int, axis: int = -1) -> str:
        """Its part from `first` to before `last` along an axis."""
        return self.add("Slice", tensor, *(np.array([number], np.int64) for number in (first, last, axis)))


class Ranked(NamedTuple):
    """Detections (N, 6), and the name of the rows (N,) that they come from."""

    detections: OnnxTensor
    order: str


def ranked(nodes: OnnxNodes, rows: str, count: int) -> Ranked:
    """rows (M, 6) with the score in column 4 -> the `count` rows of the highest scores, best first; count <= M.

    Rows whose score is not above 0 become NO_DETECTION.
    """
    _, order = nodes.add("TopK", nodes.add("Squeeze", nodes.columns(rows, 4, 5), axes=[1]),
                         np.array([count], np.int64), outputs=2, axis=0)
    best = nodes.add("Gather", rows, order, axis=0)
    found = nodes.add("Greater", nodes.columns(best, 4, 5), 0.0)
    return Ranked(OnnxTensor(nodes.add("Where", found, best, NO_DETECTION), (count, 6)), order)
