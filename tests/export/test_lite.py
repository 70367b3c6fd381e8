"""Graphs that MindSpore Lite cannot convert, or computes wrongly, are rewritten and give the same numbers as before."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import nn, ops
from onnx import TensorProto, helper, numpy_helper

from export import export_graph
from src.export.lite import obstacles, suit_lite
from src.export.onnx_graph import finish_onnx
from src.ops.nms_graph import gather_rows, nms


def model_of(nodes: list, constants: dict, inputs: dict, outputs: dict):
    """A model of opset 11 with float32 inputs and outputs {name: shape}."""
    sides = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
             for group in (inputs, outputs)]
    graph = helper.make_graph(nodes, "graph", *sides,
                              [numpy_helper.from_array(value, name) for name, value in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)


def run(model, *inputs: np.ndarray) -> list:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {slot.name: array for slot, array in zip(session.get_inputs(), inputs)})


def test_each_use_of_a_weight_gets_a_copy_and_what_has_no_use_goes():
    weights = np.arange(4, dtype=np.float32).reshape(2, 2)
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])],
                     {"w": weights, "unused": weights}, {"x": (1, 2)}, {"y": (1, 2)})
    assert obstacles(model) == ["initializer w has 2 uses"]

    suit_lite(model)

    assert obstacles(model) == [] and len(model.graph.initializer) == 2
    x = np.array([[3, 5]], np.float32)
    np.testing.assert_array_equal(run(model, x)[0], x @ weights @ weights)


def test_identities_and_slices_of_nothing_go_and_indices_are_added_to_0():
    nodes = [helper.make_node("Slice", ["x", "none", "none", "none"], ["all"]),
             helper.make_node("TopK", ["all", "two"], ["values", "indices"], axis=0),
             helper.make_node("Cast", ["indices"], ["as_int"], to=TensorProto.INT32),
             helper.make_node("Identity", ["as_int"], ["same"]),
             helper.make_node("Cast", ["same"], ["as_float"], to=TensorProto.FLOAT),
             helper.make_node("Identity", ["as_float"], ["y"])]
    model = model_of(nodes, {"none": np.zeros(0, np.int64), "two": np.array([2], np.int64)}, {"x": (4,)}, {"y": (2,)})

    suit_lite(model)

    # the last one stays: its result is an output
    assert [node.op_type for node in model.graph.node] == ["TopK", "Cast", "Add", "Cast", "Identity"]
    assert obstacles(model) == []
    np.testing.assert_array_equal(run(model, np.array([1, 4, 2, 3], np.float32))[0], [1, 3])


@pytest.mark.parametrize("kind", ["bool ConstantOfShape", "ScatterElements", "Identity"])
def test_what_lite_refuses_is_named(kind):
    nodes = {"bool ConstantOfShape": [helper.make_node("ConstantOfShape", ["n"], ["y"],
                                                       value=numpy_helper.from_array(np.array([True])))],
             "ScatterElements": [helper.make_node("ScatterElements", ["x", "i", "u"], ["y"])],
             "Identity": [helper.make_node("TopK", ["x", "n"], ["v", "i"]), helper.make_node("Identity", ["i"], ["y"])]}
    constants = {"n": np.array([2], np.int64), "i": np.zeros(1, np.int64), "u": np.zeros(1, np.float32)}
    (found,) = obstacles(model_of(nodes[kind], constants, {"x": (4,)}, {"y": (4,)}))
    assert found.startswith("y is") and kind.split()[-1] in found


class Suppression(nn.Cell):
    def construct(self, boxes, scores):
        """(1, N, 4) and (1, N) -> (1, N), 1 for the boxes that are kept, by descending scores."""
        scores, order = ops.topk(scores, scores.shape[1])
        return nms(gather_rows(boxes, order), scores, 0.4).astype(ms.float32)


def test_suppression_of_mindspore_is_written_plainly(tmp_path):
    # given overlapping boxes
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 20, (60, 2))
    boxes = np.concatenate([first, first + rng.uniform(5, 20, (60, 2))], axis=1).astype(np.float32)[None]
    scores = rng.random((1, 60), np.float32)
    cell = Suppression()
    wanted = cell(ms.Tensor(boxes), ms.Tensor(scores)).asnumpy()
    assert 5 < wanted.sum() < 55

    # when the cell is exported
    path = export_graph(cell, [boxes, scores], tmp_path, "suppression", "ONNX")
    before = obstacles(onnx.load(path))
    assert finish_onnx(path, ["kept"]) == []

    # then nothing is left that Lite refuses, and the same boxes are kept
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert before
    np.testing.assert_array_equal(run(model, boxes, scores)[0], wanted)
