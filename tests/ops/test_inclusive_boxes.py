import numpy as np
from mindspore import Tensor

from src.ops.inclusive_boxes import box_iou, decode, encode

STDS = (0.1, 0.1, 0.2, 0.2)


def boxes_of(count, seed):
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2)) * 60
    return np.concatenate([corners, corners + 5 + rng.random((count, 2)) * 30], axis=1).astype("f4")


def test_decoding_undoes_encoding():
    boxes, anchors = boxes_of(50, seed=0), boxes_of(50, seed=1)
    deltas = encode(Tensor(boxes), Tensor(anchors), STDS)
    np.testing.assert_allclose(decode(deltas, Tensor(anchors), STDS, (100, 100)).asnumpy(), boxes, atol=1e-3)


def test_deltas_worked_out_by_hand():
    # An anchor of 10 x 10 pixels around 4.5; the box is 20 wide, 10 high, and its middle 5 to the right.
    deltas = encode(Tensor(np.array([[0, 0, 19, 9]], "f4")), Tensor(np.array([[0, 0, 9, 9]], "f4")), (1, 1, 1, 1))
    np.testing.assert_allclose(deltas.asnumpy(), [[0.5, 0, np.log(2), 0]], atol=1e-6)


def test_boxes_are_clipped_limited_and_never_inside_out():
    anchors = Tensor(np.array([[0, 0, 9, 9]] * 3, "f4"))
    deltas = Tensor(np.array([[0, 0, 9, 9], [-50, -50, 0, 0], [0, 0, -9, -9]], "f4"))
    boxes = decode(deltas, anchors, (1, 1, 1, 1), (64, 96)).asnumpy()
    np.testing.assert_allclose(boxes, [[0, 0, 96, 64], [0, 0, 0, 0], [4.5, 4.5, 4.5, 4.5]], atol=1e-5)


def test_overlap_counts_the_last_pixel():
    first = Tensor(np.array([[0, 0, 9, 9]], "f4"))
    second = Tensor(np.array([[0, 0, 9, 9], [5, 0, 14, 9], [10, 0, 19, 9]], "f4"))
    np.testing.assert_allclose(box_iou(first, second).asnumpy(), [[1, 50 / 150, 0]], atol=1e-6)
