import numpy as np
import pytest

from src.ops.anchors import grid_anchors, octave_prior_boxes, ssd_prior_boxes
from src.ops.boxes import corners_from_centers

# One level of 2 x 3 cells of 50 pixels in an image of 100 x 150, and one of a single cell.
TWO_LEVELS = dict(input_size=(100, 150), feature_sizes=[(2, 3), (1, 1)], steps=[(50, 50), (100, 150)],
                  min_scale=0.2, max_scale=0.8)


def test_boxes_stand_in_the_middle_of_their_cells_row_by_row():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]]).centers
    assert priors.shape == (2 * 3 * 4 + 4, 4) and priors.dtype == np.float32
    cells = priors[:24].reshape(2, 3, 4, 4)
    np.testing.assert_allclose(cells[:, 0, 0, 0], [0.25, 0.75])
    np.testing.assert_allclose(cells[0, :, 0, 1], [1 / 6, 3 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_array_equal(priors[24:, :2], np.full((4, 2), 0.5))


def test_sizes_of_one_cell():
    # Scale 0.2: the square, twice as wide, twice as high, and the square between the scales 0.2 and 0.8.
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]]).centers
    root = np.sqrt(2)
    np.testing.assert_allclose(priors[:4, 2:], [[0.2, 0.2], [0.2 / root, 0.2 * root], [0.2 * root, 0.2 / root],
                                                [0.4, 0.4]], rtol=1e-6)


def test_after_the_last_level_comes_the_whole_picture():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[], [2]]).centers
    np.testing.assert_allclose(priors[-1, 2:], np.sqrt([0.8, 0.8]), rtol=1e-6)


def test_scales_can_be_given_and_no_side_is_longer_than_the_picture():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]], scales=[0.1, 0.9, 1]).centers
    root = np.sqrt(2)
    np.testing.assert_allclose(priors[0, 2:], [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(priors[-4:, 2:], [[0.9, 0.9], [0.9 / root, 1], [1, 0.9 / root], np.sqrt([0.9, 0.9])],
                               rtol=1e-6)


def test_anchors_around_corners_include_the_pixel_before_their_end():
    # A square of 16 around the corner of each cell, the next cell 5 pixels down and 7 across.
    anchors = grid_anchors((2, 2), 4, [4], [1], steps=(5, 7), centered=False)
    np.testing.assert_array_equal(anchors, [[-8, -8, 7, 7], [-1, -8, 14, 7], [-8, -3, 7, 12], [-1, -3, 14, 12]])


def test_a_first_level_without_ratios_has_three_small_boxes():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[], [2]]).centers
    root = np.sqrt(2)
    assert len(priors) == 2 * 3 * 3 + 4
    np.testing.assert_allclose(priors[:3, 2:], [[0.1, 0.1], [0.2 / root, 0.2 * root], [0.2 * root, 0.2 / root]],
                               rtol=1e-6)


@pytest.mark.parametrize("ratio", [2, 3, 0.5])
def test_a_ratio_keeps_the_area(ratio):
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[ratio], [ratio]]).centers
    np.testing.assert_allclose(priors[:3, 2] * priors[:3, 3], np.full(3, 0.04), rtol=1e-5)
    assert priors[1, 3] / priors[1, 2] == pytest.approx(ratio, rel=1e-5)


def test_corners_are_those_of_the_centers():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]])
    np.testing.assert_allclose(priors.corners, corners_from_centers(priors.centers), atol=1e-6)


def test_octave_boxes_of_one_cell():
    # Step 8: a square of 32 pixels and one of 32 sqrt 2, then twice as wide, then twice as high, in an image of 64.
    priors = octave_prior_boxes((64, 64), [(8, 8)], [(8, 8)])
    root = np.sqrt(2)
    assert priors.centers.shape == (8 * 8 * 6, 4) and priors.centers.dtype == np.float32
    want = [[32, 32], [32 * root, 32 * root], [32 / root, 32 * root], [32, 64], [32 * root, 32 / root], [64, 32]]
    np.testing.assert_allclose(priors.centers[:6, 2:] * 64, want, rtol=1e-5)
    np.testing.assert_allclose(priors.centers[6, :2] * 64, [4, 12])
    np.testing.assert_allclose(priors.corners, corners_from_centers(priors.centers), atol=1e-6)


def test_anchors_of_a_grid_stand_around_the_middle_of_their_cells():
    # Stride 4, scale 8: 32 x 32 pixels around 1.5, that is from -14 to 17; half as high: 45 x 23, rounded.
    anchors = grid_anchors((2, 3), 4, scales=(8,), ratios=(0.5, 1.0))
    assert anchors.shape == (2 * 3 * 2, 4) and anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors[:2], [[-21, -9, 24, 12], [-14, -14, 17, 17]])
    np.testing.assert_array_equal(anchors[2:4], anchors[:2] + [4, 0, 4, 0])  # the next column comes first
    np.testing.assert_array_equal(anchors[6:8], anchors[:2] + [0, 4, 0, 4])
