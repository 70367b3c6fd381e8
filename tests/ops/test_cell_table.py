import numpy as np
import pytest
from mindspore import Tensor

from src.ops.cell_table import CellTable


@pytest.mark.parametrize("training", [False, True])
def test_rows_are_cells_level_by_level_and_image_by_image(training):
    maps = [np.random.default_rng(size).standard_normal((2, 3, size, size + 1)).astype("f4") for size in (4, 2)]
    table = CellTable().set_train(training)(tuple(map(Tensor, maps))).asnumpy()
    want = [features[image, :, row, column] for features in maps for image in range(2)
            for row in range(features.shape[2]) for column in range(features.shape[3])]
    np.testing.assert_array_equal(table, want)
