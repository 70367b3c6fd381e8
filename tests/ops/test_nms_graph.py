import numpy as np
from mindspore import Tensor

from src.ops.nms_graph import classwise_nms, gather_rows, nms

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


def test_nms_is_greedy():
    boxes, scores, _ = candidates()
    kept = nms(Tensor(boxes), Tensor(scores), 0.5).asnumpy()
    assert 20 < kept.sum() < 250 and np.flatnonzero(kept).tolist() == kept_by_loops(boxes, 0.5)


def test_all_classes_at_once_are_the_classes_one_by_one():
    for classes in (1, 3, 80):
        boxes, scores, labels = candidates(classes=classes)
        kept = classwise_nms(Tensor(boxes), Tensor(scores), Tensor(labels), classes, 0.5, SIZE).asnumpy()
        want = np.zeros(len(boxes), bool)
        for label in range(classes):
            rows = np.flatnonzero(labels == label)
            want[rows[kept_by_loops(boxes[rows], 0.5)]] = True
        np.testing.assert_array_equal(kept, want)


def test_rows_are_gathered_per_picture():
    rows = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    found = gather_rows(Tensor(rows.astype("f4")), Tensor(np.array([[0, 3], [2, 2]], "i4"))).asnumpy()
    np.testing.assert_array_equal(found, [rows[0, [0, 3]], rows[1, [2, 2]]])
