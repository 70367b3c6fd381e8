import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ops.boxes import box_iou, corners_from_centers


def boxes_on_a_grid(count):
    """`count` corner boxes with whole coordinates, at least one unit wide and high."""
    box = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2)
    return st.lists(box, min_size=count, max_size=count).map(
        lambda rows: np.array([(y, x, y + h, x + w) for y, x, h, w in rows], np.float32).reshape(count, 4))


def test_corners_lie_half_a_size_around_the_centre():
    corners = corners_from_centers(np.array([[10, 20, 4, 6], [0, 0, 1, 1]], np.float32))
    np.testing.assert_array_equal(corners, [[8, 17, 12, 23], [-0.5, -0.5, 0.5, 0.5]])


def test_overlap_of_shifted_squares():
    # 2 x 2 squares shifted by 1 share 2 of 6; shifted by (1, 1) they share 1 of 7; the last ones only touch.
    square = np.array([[0, 0, 2, 2]], np.float32)
    others = np.array([[0, 0, 2, 2], [0, 1, 2, 3], [1, 1, 3, 3], [0, 2, 2, 4]], np.float32)
    np.testing.assert_allclose(box_iou(square, others), [[1, 2 / 6, 1 / 7, 0]], rtol=1e-6)


def test_a_box_inside_another_overlaps_by_the_ratio_of_areas():
    outer, inner = np.array([[0, 0, 10, 10]], np.float32), np.array([[2, 3, 4, 8]], np.float32)
    np.testing.assert_allclose(box_iou(outer, inner), [[0.1]], rtol=1e-6)


def test_empty_boxes_overlap_nothing():
    point = np.array([[5, 5, 5, 5]], np.float32)
    assert box_iou(point, point) == 0
    assert box_iou(np.zeros((0, 4), np.float32), point).shape == (0, 1)
    assert box_iou(point, np.zeros((0, 4), np.float32)).shape == (1, 0)


@given(boxes_on_a_grid(4), boxes_on_a_grid(3))
@settings(deadline=None)
def test_overlap_is_symmetric_and_between_0_and_1(first, second):
    overlaps = box_iou(first, second)
    assert overlaps.shape == (4, 3)
    np.testing.assert_array_equal(overlaps, box_iou(second, first).T)
    assert (overlaps >= 0).all() and (overlaps <= 1).all()
    np.testing.assert_array_equal(np.diag(box_iou(first, first)), np.ones(4))
