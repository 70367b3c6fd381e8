import numpy as np
import pytest

from src.ops.anchors import ssd_prior_boxes

# One level of 2 x 3 cells of 50 pixels in a picture of 100 x 150, and one of a single cell.
TWO_LEVELS = dict(image_size=(100, 150), feature_sizes=[(2, 3), (1, 1)], steps=[(50, 50), (100, 150)],
                  min_scale=0.2, max_scale=0.8)


def test_boxes_stand_in_the_middle_of_their_cells_row_by_row():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]])
    assert priors.shape == (2 * 3 * 4 + 4, 4) and priors.dtype == np.float32
    cells = priors[:24].reshape(2, 3, 4, 4)
    np.testing.assert_allclose(cells[:, 0, 0, 0], [0.25, 0.75])
    np.testing.assert_allclose(cells[0, :, 0, 1], [1 / 6, 3 / 6, 5 / 6], rtol=1e-6)
    np.testing.assert_array_equal(priors[24:, :2], np.full((4, 2), 0.5))


def test_sizes_of_one_cell():
    # Scale 0.2: the square, twice as wide, twice as high, and the square between the scales 0.2 and 0.8.
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[2], [2]])
    root = np.sqrt(2)
    np.testing.assert_allclose(priors[:4, 2:], [[0.2, 0.2], [0.2 / root, 0.2 * root], [0.2 * root, 0.2 / root],
                                                [0.4, 0.4]], rtol=1e-6)


def test_after_the_last_level_comes_the_whole_picture():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[], [2]])
    np.testing.assert_allclose(priors[-1, 2:], np.sqrt([0.8, 0.8]), rtol=1e-6)


def test_a_first_level_without_ratios_has_three_small_boxes():
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[], [2]])
    root = np.sqrt(2)
    assert len(priors) == 2 * 3 * 3 + 4
    np.testing.assert_allclose(priors[:3, 2:], [[0.1, 0.1], [0.2 / root, 0.2 * root], [0.2 * root, 0.2 / root]],
                               rtol=1e-6)


@pytest.mark.parametrize("ratio", [2, 3, 0.5])
def test_a_ratio_keeps_the_area(ratio):
    priors = ssd_prior_boxes(**TWO_LEVELS, aspect_ratios=[[ratio], [ratio]])
    np.testing.assert_allclose(priors[:3, 2] * priors[:3, 3], np.full(3, 0.04), rtol=1e-5)
    assert priors[1, 3] / priors[1, 2] == pytest.approx(ratio, rel=1e-5)
