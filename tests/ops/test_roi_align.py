import numpy as np
import pytest
from mindspore import Tensor, ops, value_and_grad

from src.ops.roi_align import PyramidRoIAlign

STRIDES = (4, 8)


def random_rois(count=20, side=120.0):
    rng = np.random.default_rng(0)
    corners = rng.random((1, count, 2)) * side
    return np.concatenate([corners, corners + 2 + rng.random((1, count, 2)) * side], axis=2).clip(0, 159).astype("f4")


def random_map(stride, channels=3):
    return np.random.default_rng(stride).standard_normal((1, channels, 160 // stride, 160 // stride)).astype("f4")


@pytest.mark.parametrize("end_offset", [0, 1])
@pytest.mark.parametrize("stride", STRIDES)
def test_it_is_mindspores_operator_on_the_level_of_each_roi(end_offset, stride):
    rois, maps = random_rois(), [random_map(level) for level in STRIDES]
    least = 1 - end_offset  # the operator's own rule
    align = PyramidRoIAlign(7, STRIDES, finest_size=28, end_offset=end_offset, least_cells=least)
    found = align(tuple(map(Tensor, maps)), Tensor(rois)).asnumpy()
    here = align.levels(Tensor(rois[0])).asnumpy() == STRIDES.index(stride)
    rows = np.concatenate([np.zeros((len(rois[0]), 1), "f4"), rois[0]], axis=1)
    built_in = ops.ROIAlign(7, 7, 1 / stride, 2, end_offset)
    want = built_in(Tensor(maps[STRIDES.index(stride)]), Tensor(rows)).asnumpy()
    assert 3 < here.sum() < len(here)
    np.testing.assert_allclose(found[here], want[here], atol=1e-4)


def test_gradients_are_mindspores_too():
    rois, features = random_rois(), random_map(4)
    weights = Tensor(np.random.default_rng(1).standard_normal((20, 3, 7, 7)).astype("f4"))
    rows = Tensor(np.concatenate([np.zeros((20, 1), "f4"), rois[0]], axis=1))
    align, built_in = PyramidRoIAlign(7, (4,), finest_size=28, end_offset=1), ops.ROIAlign(7, 7, 0.25, 2, 1)
    found = value_and_grad(lambda x: (align((x,), Tensor(rois)) * weights).sum())(Tensor(features))[1]
    want = value_and_grad(lambda x: (built_in(x, rows) * weights).sum())(Tensor(features))[1]
    np.testing.assert_allclose(found.asnumpy(), want.asnumpy(), atol=1e-4)


def test_bins_of_a_slope_hold_the_position_of_their_middle():
    # A map whose value is its column: a RoI from 8 to 36 (end excluded) lies on columns 2 to 9, 1 column per bin.
    slope = np.broadcast_to(np.arange(20, dtype="f4"), (1, 1, 20, 20)).copy()
    align = PyramidRoIAlign(7, (4,), finest_size=28, end_offset=0)
    bins = align((Tensor(slope),), Tensor(np.array([[[8, 8, 36, 36]]], "f4"))).asnumpy()
    np.testing.assert_allclose(bins[0, 0], np.broadcast_to(np.arange(7) + 2.5, (7, 7)), atol=1e-5)


def test_each_picture_has_its_own_features():
    align = PyramidRoIAlign(2, (4,), finest_size=28, end_offset=1)
    maps = np.stack([np.full((1, 8, 8), value, "f4") for value in (1, 2)])
    rois = np.tile(np.array([[4, 4, 20, 20]], "f4"), (2, 3, 1))
    bins = align((Tensor(maps),), Tensor(rois)).asnumpy()
    assert bins.shape == (6, 1, 2, 2)
    np.testing.assert_allclose(bins[:, 0, 0, 0], [1, 1, 1, 2, 2, 2], atol=1e-6)


def test_levels_by_size():
    # A square of 112 pixels ends on the pixel 111; twice the finest size is where the second level begins.
    align = PyramidRoIAlign(7, (4, 8, 16, 32), finest_size=56, end_offset=1)
    rois = np.array([[0, 0, side - 1, side - 1] for side in (1, 56, 111, 112, 223, 224, 448, 4000)], "f4")
    assert align.levels(Tensor(rois)).asnumpy().tolist() == [0, 0, 0, 1, 1, 2, 3, 3]


@pytest.mark.parametrize("size", [2, 7])
def test_dense_samples_are_the_mean_of_a_sample_per_cell(size):
    """Against the definition, sample by sample; the first RoI reaches beyond the map, the second is thin."""
    rois = np.array([[[-9, 20, 130, 159], [40, 40, 41, 120], [10.3, 20.6, 100.2, 77.7]]], "f4")
    features = random_map(4, channels=2)
    align = PyramidRoIAlign(size, (4,), finest_size=28, end_offset=0, least_cells=0, dense=True)
    bins = align((Tensor(features),), Tensor(rois)).asnumpy()
    for roi, found in zip(rois[0].astype(float) / 4 - 0.5, bins):
        axes = []
        for low, high in ((roi[1], roi[3]), (roi[0], roi[2])):
            length = (high - low) / size
            count = max(1, int(np.ceil(length)))
            axes.append([low + (number + (np.arange(count) + 0.5) / count) * length for number in range(size)])
        want = [[np.mean([looked_up(features[0], y, x) for y in down for x in across], axis=0) for across in axes[1]]
                for down in axes[0]]
        np.testing.assert_allclose(found, np.transpose(want, (2, 0, 1)), atol=1e-4)


def looked_up(features, y, x):
    """Linear interpolation between the four cells around a position; nothing further out than a cell."""
    height, width = features.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(features))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    rows, columns = np.maximum(1 - abs(np.arange(height) - y), 0), np.maximum(1 - abs(np.arange(width) - x), 0)
    return features @ columns @ rows
