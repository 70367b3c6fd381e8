import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from export import export_graph
from src.evaluation.predictor import mindir_runner, onnx_runner
from src.ops.nms_graph import ROUNDS, classwise_nms, gather_rows, kept_by_matrix, nms

SIZE = (96, 160)


def candidates(count=300, classes=80):
    rng = np.random.default_rng(0)
    corners = rng.random((count, 2)) * [SIZE[1] - 60, SIZE[0] - 60]
    boxes = np.concatenate([corners, corners + 10 + rng.random((count, 2)) * 50], axis=1).astype("f4")
    return boxes, np.sort(rng.random(count).astype("f4"))[::-1].copy(), rng.integers(0, classes, count).astype("i4")


def kept_by_loops(boxes, threshold):
    kept = []
    for index, box in enumerate(boxes):
        low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
        inter = np.prod(np.maximum(high - low, 0), axis=1)
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        overlaps = inter / (areas + areas[index] - inter)
        if not any(overlaps[other] > threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("by_matrix", [False, True])
def test_nms_is_greedy_in_each_image(by_matrix):
    boxes, scores, _ = candidates()
    batch = Tensor(np.stack([boxes, boxes[::-1].copy()])), Tensor(np.stack([scores, scores]))
    kept = nms(*batch, 0.5, by_matrix=by_matrix).asnumpy()
    assert 20 < kept[0].sum() < 250 and np.flatnonzero(kept[0]).tolist() == kept_by_loops(boxes, 0.5)
    assert np.flatnonzero(kept[1]).tolist() == kept_by_loops(boxes[::-1], 0.5) != kept_by_loops(boxes, 0.5)


@pytest.mark.parametrize("end_offset", [0, 1])
def test_both_ways_agree_on_boxes_that_include_their_last_pixel(end_offset):
    boxes, scores, _ = candidates()
    one, other = (nms(Tensor(boxes[None]), Tensor(scores[None]), 0.3, end_offset, by_matrix).asnumpy()
                  for by_matrix in (False, True))
    np.testing.assert_array_equal(one, other)


def test_the_matrix_keeps_sixteenths_of_a_pixel_where_float16_has_half_pixels():
    """At 1,000 pixels; an IoU of 0.4819, which is 0.4884 after rounding, against a threshold of 0.485."""
    boxes = np.array([[1000, 1000, 1032, 1032], [1011.1875, 1000, 1043.1875, 1032]], "f4")
    rounded = boxes.astype("f2").astype("f4")
    scores = Tensor(np.array([[0.9, 0.8]], "f4"))
    keeps = [nms(Tensor(form[None]), scores, 0.485, by_matrix=True).asnumpy()[0].tolist() for form in (boxes, rounded)]
    assert keeps == [[True, True], [True, False]]


def test_the_rounds_suffice_for_twice_as_long_chains_as_crowded_boxes_have():
    """Boxes around few objects, and boxes on a grid: what a region proposal network finds."""
    rng = np.random.default_rng(0)
    deepest = 0
    for count, threshold, spread in ((1000, 0.3, 0.1), (1000, 0.5, 0.3), (2000, 0.7, 0.1), (2000, 0.3, 0.3)):
        objects = rng.integers(1, 40)
        middles, sides = rng.random((objects, 2)) * 1000, 20 + rng.random((objects, 2)) * 300
        owner = rng.integers(0, objects, count)
        middle = middles[owner] + rng.normal(size=(count, 2)) * sides[owner] * spread
        half = sides[owner] * np.exp(rng.normal(size=(count, 2)) * spread) / 2
        boxes = np.concatenate([middle - half, middle + half], 1)
        deepest = max(deepest, rounds_until_nothing_changes(boxes, threshold))
    assert 3 <= deepest <= ROUNDS / 2


def rounds_until_nothing_changes(boxes, threshold):
    low, high = np.maximum(boxes[:, None, :2], boxes[:, :2]), np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    inter = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    suppresses = np.triu(inter / (areas[:, None] + areas - inter) > threshold, 1).astype("f4")
    kept, rounds = np.ones(len(boxes), "f4"), 0
    while True:
        after = (kept @ suppresses == 0).astype("f4")
        if (after == kept).all():
            return rounds
        kept, rounds = after, rounds + 1


def test_a_chain_is_followed_for_as_many_rounds_as_there_are():
    """Each box overlaps with its neighbours only, so that every other one stays."""
    count = ROUNDS + 1
    overlaps = np.abs(np.subtract.outer(range(count), range(count))) == 1
    np.testing.assert_array_equal(kept_by_matrix(Tensor(overlaps[None])).asnumpy()[0], np.arange(count) % 2 == 0)


@pytest.mark.parametrize("by_matrix", [False, True])
def test_all_classes_at_once_are_the_classes_one_by_one(by_matrix):
    for classes in (1, 3, 80):
        boxes, scores, labels = candidates(classes=classes)
        kept = classwise_nms(Tensor(boxes[None]), Tensor(scores[None]), Tensor(labels[None]), classes, 0.5, SIZE,
                             by_matrix=by_matrix).asnumpy()[0]
        want = np.zeros(len(boxes), bool)
        for label in range(classes):
            rows = np.flatnonzero(labels == label)
            want[rows[kept_by_loops(boxes[rows], 0.5)]] = True
        np.testing.assert_array_equal(kept, want)


def test_rows_are_gathered_per_picture():
    rows = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    found = gather_rows(Tensor(rows.astype("f4")), Tensor(np.array([[0, 3], [2, 2]], "i4"))).asnumpy()
    np.testing.assert_array_equal(found, [rows[0, [0, 3]], rows[1, [2, 2]]])


class ByMatrix(nn.Cell):
    def construct(self, boxes, scores, classes):
        return classwise_nms(boxes, scores, classes, 3, 0.5, SIZE, by_matrix=True).astype(ms.int32)


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_suppression_by_matrix_can_be_exported(file_format, tmp_path):
    inputs = [array[None] for array in candidates(classes=3)]
    want = ByMatrix()(*map(Tensor, inputs)).asnumpy()
    path = export_graph(ByMatrix(), inputs, tmp_path, "nms", file_format)
    run = onnx_runner(path).run if file_format == "ONNX" else mindir_runner(path)
    np.testing.assert_array_equal(run(*inputs)[0], want)
    assert 20 < want.sum() < 280
