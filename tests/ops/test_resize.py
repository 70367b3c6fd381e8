import numpy as np
import pytest
from mindspore import Tensor, ops

from src.ops.resize import resize_bilinear, resize_nearest


@pytest.mark.parametrize("size, new_size", [
    ((4, 6), (8, 12)), ((20, 20), (40, 40)), ((3, 5), (5, 10)), ((5, 3), (10, 5)), ((3, 3), (5, 7)), ((1, 1), (2, 2)),
    ((7, 4), (7, 4)), ((10, 9), (7, 3)),
])
def test_it_is_mindspores_bilinear_resize(size, new_size):
    maps = Tensor(np.random.default_rng(0).standard_normal((2, 3, *size)).astype(np.float32))
    want = ops.ResizeBilinearV2(align_corners=False, half_pixel_centers=False)(maps, Tensor(np.int32(new_size)))
    np.testing.assert_allclose(resize_bilinear(maps, new_size).asnumpy(), want.asnumpy(), atol=5e-6)


def test_doubling_worked_out_by_hand():
    # New cells lie at 0, 0.5, 1, 1.5 old ones; behind the last old cell its value goes on.
    rows = Tensor(np.array([[[[1.0], [3.0]]]], np.float32))
    np.testing.assert_array_equal(resize_bilinear(rows, (4, 1)).asnumpy().ravel(), [1, 2, 3, 3])


def test_nearest_repeats_every_cell():
    maps = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    want = maps.repeat(2, axis=2).repeat(3, axis=3)
    np.testing.assert_array_equal(resize_nearest(Tensor(maps), (4, 9)).asnumpy(), want)
