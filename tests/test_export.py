"""What is done to an ONNX file after MindSpore has written it."""
from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export import TOLERANCE, ranked_difference, stack_plainly

# x, score
RANKED = [[1, 0.9], [2, 0.5], [3, 0.5], [4, 0.2]]


def difference(wanted, found) -> float:
    return ranked_difference([np.array([wanted], np.float32)], [np.array([found], np.float32)], score_column=1)


def test_rows_of_equal_scores_may_change_places():
    assert difference(RANKED, [[1, 0.9], [3, 0.5 + 1e-6], [2, 0.5], [4, 0.2]]) < TOLERANCE


def test_the_last_row_may_be_another_of_its_score():
    assert difference(RANKED, [[1, 0.9], [2, 0.5], [3, 0.5], [7, 0.2]]) < TOLERANCE


@pytest.mark.parametrize("found", [
    [[1, 0.9], [2, 0.5], [3.1, 0.5], [4, 0.2]],   # another box
    [[1, 0.8], [2, 0.5], [3, 0.5], [4, 0.2]],     # another score
    [[1, 0.9], [2, 0.5], [2, 0.5], [4, 0.2]],     # one is missing, another there twice
])
def test_other_rows_are_a_difference(found):
    assert difference(RANKED, found) > TOLERANCE


def test_one_of_many_rows_may_be_another_box_but_not_a_third_of_them():
    many = [[place, 1 - place / 100] for place in range(30)]
    one_moved = [[99, 1 - place / 100] if place == 7 else row for place, row in enumerate(many)]
    ten_moved = [[99, 1 - place / 100] if place < 10 else row for place, row in enumerate(many)]

    assert difference(many, one_moved) < TOLERANCE < difference(many, ten_moved)


def test_where_nothing_is_found_both_have_to_say_so():
    nothing = [[1, 0], [2, 0]]

    assert difference(nothing, nothing) == 0
    assert difference(nothing, [[1, 0.3], [2, 0]]) == pytest.approx(0.3)


@pytest.mark.parametrize("settings, shape", [
    ({"axis": 1, "new_axis": 1}, (2, 2, 3)), ({"axis": 0, "new_axis": 1}, (2, 2, 3)), ({"axis": 1}, (2, 6))])
def test_sequences_become_plain_operators(settings, shape):
    # given a stack of a tensor and its negative, as MindSpore exports it
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("SequenceConstruct", ["x", "minus"], ["both"]),
             helper.make_node("ConcatFromSequence", ["both"], ["y"], **settings)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = outputs(model, x)

    # when its sequences are replaced
    stack_plainly(model)

    # then it computes the same without them
    assert not {node.op_type for node in model.graph.node} & {"SequenceConstruct", "ConcatFromSequence"}
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(outputs(model, x), wanted)
    assert wanted.shape == shape


def outputs(model, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y
