import numpy as np
import pytest
import recipe
from golden import Golden
from pycocotools import mask as coco_mask

from src.ops.masks import bitmap, over_box, over_grown_pixels, paste_masks

GOLDEN = Golden("maskrcnn_r50")


def test_polygons_cover_what_any_of_them_covers():
    square, neighbour = [2, 1, 6, 1, 6, 5, 2, 5], [4, 3, 9, 3, 9, 5, 4, 5]

    inside = bitmap([square, neighbour], 8, 10)

    want = np.zeros((8, 10), np.uint8)
    want[1:5, 2:6] = want[3:5, 4:9] = 1
    assert inside.dtype == np.uint8 and (inside == want).all()


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths_go_down_the_columns(compressed):
    runs = {"size": [3, 2], "counts": [1, 2, 2, 1]}
    if compressed:
        runs = coco_mask.frPyObjects(runs, 3, 2)

    assert bitmap(runs, 3, 2).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_a_mask_is_stretched_over_the_pixels_its_box_touches():
    (runs,) = paste_masks(np.full((1, 28, 28), 0.6, np.float32), np.float32([[1.9, 2, 4.1, 3.5]]), (6, 8), 0.5)

    want = np.zeros((6, 8), np.uint8)
    want[2:4, 1:5] = 1
    assert (coco_mask.decode(runs) == want).all()


@pytest.mark.parametrize("box, covered", [
    ((-3, -2, 1, 1), 4),      # columns 0 to 1, rows 0 to 1 of the image
    ((6, 4, 30, 20), 4),      # columns 6 to 7, rows 4 to 5
    ((-9, -9, 90, 90), 48),
    ((8, 0, 9, 3), 0),        # beyond the right edge
    ((-9, 0, -1, 3), 0),
])
def test_what_lies_beyond_the_picture_is_cut_off(box, covered):
    (runs,) = paste_masks(np.ones((1, 28, 28), np.float32), np.float32([box]), (6, 8), 0.5)

    assert runs["size"] == [6, 8] and coco_mask.area(runs) == covered


def test_masks_do_not_leave_traces_in_each_other():
    masks = np.ones((2, 28, 28), np.float32)

    runs = paste_masks(masks, np.float32([[0, 0, 3, 3], [4, 4, 5, 5]]), (6, 8), 0.5)

    assert coco_mask.area(runs).tolist() == [16, 4]


def test_pasting_equals_the_zoo():
    """Row 1 of the recorded boxes has negative corners, on which the zoo stops with a ValueError. The zoo's results
    are sorted by class."""
    golden = GOLDEN.read("postprocess")
    rows = golden["paste.rows_used"]
    rows = rows[np.argsort(golden["paste.labels"][rows], kind="stable")]
    masks = 1 / (1 + np.exp(-recipe.tensor("paste.mask", (6, 28, 28), 2)))

    runs = paste_masks(masks[rows], golden["paste.boxes"][rows, :4], (480, 640), 0.5)

    assert [one["counts"] for one in runs] == golden["paste.segm_rle_counts"].tolist()


def test_a_box_is_filled_where_the_middle_of_a_pixel_lies_in_it():
    # A full mask falls off to a half at the edge of its box: pixels count whose middle is inside.
    (runs,) = paste_masks(np.ones((1, 28, 28), np.float32), np.float32([[1.4, 2.6, 4.6, 9]]), (6, 8), 0.5, over_box)

    want = np.zeros((6, 8), np.uint8)
    want[3:6, 1:5] = 1
    assert (coco_mask.decode(runs) == want).all()


def test_a_grown_box_has_an_empty_margin():
    # 28 cells over 28 pixels, and a cell more on each side, which is half empty at its inner edge.
    (runs,) = paste_masks(np.ones((1, 28, 28), np.float32), np.float32([[10, -3, 38, 25]]), (60, 60), 0.5,
                          over_grown_pixels)

    mask = coco_mask.decode(runs)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    assert rows[0] == 0 and abs(rows[-1] - 25) <= 1 and abs(columns[0] - 10) <= 1 and abs(columns[-1] - 38) <= 1
