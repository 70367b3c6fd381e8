import numpy as np
from mindspore import Tensor

from src.ops.normalize import NormalizeImages


def test_channels_are_shifted_scaled_and_moved_to_the_front():
    images = np.zeros((2, 3, 4, 3), np.uint8)
    images[1, 2, 3] = (10, 20, 30)
    normalized = NormalizeImages(mean=(10, 10, 0), std=(2, 5, 10))(Tensor(images)).asnumpy()
    assert normalized.shape == (2, 3, 3, 4) and normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[1, :, 2, 3], [0, 2, 3])
    np.testing.assert_allclose(normalized[0, :, 0, 0], [-5, -2, 0])
