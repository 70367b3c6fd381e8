"""The gather formulation against sums written out, and its gradient against finite differences."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from src.evaluation.predictor import mindir_runner, onnx_runner
from src.ops.deform_conv import DeformConv, deform_conv


def sampled(x: np.ndarray, y: float, column: float) -> np.ndarray:
    """The channels of x (C, H, W) at a point, read bilinearly, 0 outside."""
    value = np.zeros(x.shape[0])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for col in (int(np.floor(column)), int(np.floor(column)) + 1):
            if 0 <= row < x.shape[1] and 0 <= col < x.shape[2]:
                value += (1 - abs(y - row)) * (1 - abs(column - col)) * x[:, row, col]
    return value


def by_sums(x, offsets, modulation, weight) -> np.ndarray:
    """Equation 1 of the paper, cell by cell, in float64."""
    batch, _, height, width = x.shape
    out = np.zeros((batch, weight.shape[0], height, width))
    for image, row, column, tap in np.ndindex(batch, height, width, 9):
        down, aside = tap // 3, tap % 3
        y = row + down - 1 + offsets[image, 2 * tap, row, column]
        at = column + aside - 1 + offsets[image, 2 * tap + 1, row, column]
        out[image, :, row, column] += (modulation[image, tap, row, column]
                                       * weight[:, :, down, aside] @ sampled(x[image], y, at))
    return out


def drawn(seed: int, batch=2, channels=3, depth=4, height=4, width=5) -> list:
    """x, offsets that also lead out of the map, modulation, weight."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, channels, height, width)),
            rng.uniform(-2.5, 2.5, (batch, 18, height, width)), rng.random((batch, 9, height, width)),
            rng.standard_normal((depth, channels, 3, 3))]


def as_tensors(arrays) -> list:
    return [Tensor(array, ms.float32) for array in arrays]


@pytest.mark.parametrize("changed", [{}, {"batch": 1, "height": 1}, {"width": 1, "channels": 1, "depth": 1}])
def test_forward_equals_the_sums(changed):
    arrays = drawn(0, **changed)
    np.testing.assert_allclose(deform_conv(*as_tensors(arrays)).asnumpy(), by_sums(*arrays), atol=1e-5)


def test_half_precision_reads_at_the_same_points():
    arrays = [array.astype(np.float16).astype(np.float64) for array in drawn(7, width=40)]
    found = deform_conv(*(Tensor(array, ms.float16) for array in arrays))
    assert found.dtype == ms.float16
    np.testing.assert_allclose(found.asnumpy(), by_sums(*arrays), atol=0.03)


def test_at_rest_it_is_half_a_convolution():
    cell = DeformConv(3, 4)
    x = as_tensors(drawn(1))[0]
    half = cell.conv(x) - cell.conv.bias.reshape((1, -1, 1, 1))
    np.testing.assert_allclose(cell(x).asnumpy(), (half / 2 + cell.conv.bias.reshape((1, -1, 1, 1))).asnumpy(),
                               atol=1e-5)


@pytest.mark.parametrize("argument", range(4), ids=["input", "offsets", "modulation", "weight"])
def test_backward_equals_finite_differences(argument):
    arrays, step = drawn(2), 1e-4
    # A difference across a whole number would see another cell: the reading is bilinear, with a kink there.
    fraction = arrays[1] - np.floor(arrays[1])
    arrays[1] = np.floor(arrays[1]) + np.clip(fraction, 0.05, 0.95)
    upstream = np.random.default_rng(3).standard_normal(by_sums(*arrays).shape)

    def total(*tensors):
        return (deform_conv(*tensors) * Tensor(upstream, ms.float32)).sum()

    gradient = ms.grad(total, argument)(*as_tensors(arrays)).asnumpy()
    for index in np.random.default_rng(4).choice(arrays[argument].size, 12, replace=False):
        sides = []
        for direction in (-1, 1):
            moved = [array.copy() for array in arrays]
            moved[argument].flat[index] += direction * step
            sides.append((by_sums(*moved) * upstream).sum())
        assert gradient.flat[index] == pytest.approx((sides[1] - sides[0]) / (2 * step), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("file_format", ["ONNX", "MINDIR"])
def test_exported_files_give_the_same(tmp_path, file_format):
    cell, x = DeformConv(3, 4).set_train(False), as_tensors(drawn(5))[0]
    rng = np.random.default_rng(6)
    cell.offset.weight.set_data(Tensor(rng.standard_normal(cell.offset.weight.shape), ms.float32))
    ms.export(cell, x, file_name=str(tmp_path / "cell"), file_format=file_format)
    run = onnx_runner(tmp_path / "cell.onnx").run if file_format == "ONNX" else mindir_runner(tmp_path / "cell.mindir")
    (result,) = run(x.asnumpy())
    np.testing.assert_allclose(result, cell(x).asnumpy(), atol=1e-5)
