import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.vgg import VGG16


@pytest.fixture(scope="module")
def picture():
    return Tensor(np.random.default_rng(0).standard_normal((1, 3, 44, 36)).astype(np.float32))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_maps_have_the_promised_strides_rounded_up(picture, batch_norm):
    conv4_3, fc7 = VGG16(batch_norm).set_train(False)(picture)
    assert (conv4_3.shape, fc7.shape) == ((1, 512, 6, 5), (1, 1024, 3, 3))


@pytest.mark.parametrize("fc_relu", [False, True])
def test_behind_block_5_values_are_rectified_only_where_asked(picture, fc_relu):
    conv4_3, fc7 = VGG16(fc_relu=fc_relu).set_train(False)(picture)
    assert (conv4_3.asnumpy() >= 0).all()
    assert (fc7.asnumpy() < 0).any() != fc_relu


def test_the_blocks_have_the_parameters_of_the_paper_without_biases():
    # 14,714,688 convolution parameters (torchvision's features), 4,224 of them biases; fc6 9 x 512 x 1024, fc7 1024^2.
    count = sum(int(np.prod(parameter.shape)) for parameter in VGG16().trainable_params())
    assert count == 14_714_688 - 4_224 + 9 * 512 * 1024 + 1024 * 1024
