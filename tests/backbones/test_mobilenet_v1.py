import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.mobilenet_v1 import MobileNetV1


@pytest.mark.parametrize("taps, channels, sizes", [
    ((7, 13), (512, 1024), [(5, 3), (3, 2)]),
    ((5, 11, 13), (256, 512, 1024), [(10, 5), (5, 3), (3, 2)]),
])
def test_maps_of_the_taps(taps, channels, sizes):
    # 75 x 33 at strides 8, 16, 32, rounded up.
    body = MobileNetV1(taps).set_train(False)
    maps = body(Tensor(np.zeros((2, 3, 75, 33), np.float32)))
    assert [features.shape for features in maps] == [(2, c, *cells) for c, cells in zip(channels, sizes)]


def test_the_body_has_the_parameters_of_the_paper():
    # 4.2 million (table 8) with the classifier of 1024 x 1000 + 1000; 3,206,976 without.
    assert sum(int(np.prod(parameter.shape)) for parameter in MobileNetV1((13,)).trainable_params()) == 3_206_976
