import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.resnet import Bottleneck, ResNet


def test_maps_have_the_promised_depths_and_strides_rounded_up():
    maps = ResNet(50).set_train(False)(Tensor(np.zeros((1, 3, 75, 64), np.float32)))
    assert [features.shape for features in maps] == [
        (1, 256, 19, 16), (1, 512, 10, 8), (1, 1024, 5, 4), (1, 2048, 3, 2)]


@pytest.mark.parametrize("depth, count", [(50, 23_508_032), (101, 42_500_160)])
def test_the_body_has_the_parameters_of_torchvisions_without_its_classifier(depth, count):
    assert sum(int(np.prod(parameter.shape)) for parameter in ResNet(depth).trainable_params()) == count


def features(channels):
    return Tensor(np.random.default_rng(0).random((1, channels, 8, 8)).astype(np.float32))


def test_a_new_block_of_equal_shape_is_the_identity():
    block, x = Bottleneck(64, 16, stride=1).set_train(False), features(64)
    assert block.shortcut is None
    np.testing.assert_array_equal(block(x).asnumpy(), x.asnumpy())


@pytest.mark.parametrize("in_channels, stride, shape", [(32, 1, (1, 64, 8, 8)), (64, 2, (1, 64, 4, 4))])
def test_a_block_that_changes_the_shape_projects_its_shortcut(in_channels, stride, shape):
    block = Bottleneck(in_channels, 16, stride).set_train(False)
    assert block.shortcut is not None and block(features(in_channels)).shape == shape


def test_the_stride_is_on_the_3x3_convolution():
    block = Bottleneck(64, 16, stride=2)
    strides = {name: layer.conv.stride for name, layer in (("reduce", block.reduce), ("spatial", block.spatial))}
    assert strides == {"reduce": (1, 1), "spatial": (2, 2)}
