import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.vgg import VGG16


@pytest.fixture(scope="module")
def image():
    return Tensor(np.random.default_rng(0).standard_normal((1, 3, 44, 36)).astype(np.float32))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_maps_have_the_promised_strides_rounded_up(image, batch_norm):
    conv4_3, fc7 = VGG16(batch_norm).set_train(False)(image)
    assert (conv4_3.shape, fc7.shape) == ((1, 512, 6, 5), (1, 1024, 3, 3))


@pytest.mark.parametrize("fc_relu", [False, True])
def test_behind_block_5_values_are_rectified_only_where_asked(image, fc_relu):
    conv4_3, fc7 = VGG16(fc_relu=fc_relu).set_train(False)(image)
    assert (conv4_3.asnumpy() >= 0).all()
    assert (fc7.asnumpy() < 0).any() != fc_relu


def test_the_blocks_have_the_parameters_of_the_paper_without_biases():
    # 14,714,688 convolution parameters (torchvision's features), 4,224 of them biases; fc6 9 x 512 x 1024, fc7 1024^2.
    count = sum(int(np.prod(parameter.shape)) for parameter in VGG16().trainable_params())
    assert count == 14_714_688 - 4_224 + 9 * 512 * 1024 + 1024 * 1024


def test_dropped_values_of_fc7_are_zero_and_the_others_doubled(image):
    network = VGG16(fc_relu=False).set_train(False)
    factors = np.full((1, 2, 1024, 3, 3), 1, np.uint8)
    factors[:, 1] = 2 * np.random.default_rng(0).integers(0, 2, factors[:, 1].shape)
    as_it_is, dropped = network(image)[1].asnumpy(), network(image, Tensor(factors))[1].asnumpy()
    assert (dropped[factors[:, 1] == 0] == 0).all()
    np.testing.assert_allclose(dropped[factors[:, 1] == 2], 2 * as_it_is[factors[:, 1] == 2], rtol=1e-5, atol=1e-6)


def test_values_dropped_from_fc6_are_missing_in_fc7(image):
    network = VGG16(fc_relu=False).set_train(False)
    factors = np.ones((1, 2, 1024, 3, 3), np.uint8)
    factors[:, 0, :, 1, 1] = 0  # one cell: fc7 is 1 x 1 and sees nothing else there
    changed = network(image, Tensor(factors))[1].asnumpy() != network(image)[1].asnumpy()
    assert changed[0, :, 1, 1].all() and changed.sum() == 1024
