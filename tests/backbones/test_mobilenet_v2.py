import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2


@pytest.fixture(scope="module")
def body():
    return MobileNetV2().set_train(False)


@pytest.mark.parametrize("size, sizes", [((64, 96), [(4, 6), (2, 3)]), ((75, 33), [(5, 3), (3, 2)])])
def test_maps_have_the_promised_strides_rounded_up(body, size, sizes):
    maps = body(Tensor(np.zeros((2, 3, *size), np.float32)))
    assert [features.shape for features in maps] == [
        (2, channels, *cells) for channels, cells in zip((576, 1280), sizes)]


def test_the_body_has_the_parameters_of_the_paper(body):
    # 2,223,872 without the classifier (torchvision's features), and the 96 x 576 expansion with its norm once more,
    # since the map at stride 16 has its own.
    count = sum(int(np.prod(parameter.shape)) for parameter in body.trainable_params())
    assert count == 2_223_872 + 96 * 576 + 2 * 576


def features(channels):
    return Tensor(np.random.default_rng(0).standard_normal((1, channels, 8, 8)).astype(np.float32))


def test_a_block_of_equal_shape_adds_its_input():
    block = InvertedResidual(16, 16, stride=1, hidden=32).set_train(False)
    block.project.norm.gamma.set_data(Tensor(np.zeros(16, np.float32)))
    x = features(16)
    np.testing.assert_array_equal(block(x).asnumpy(), x.asnumpy())


@pytest.mark.parametrize("out_channels, stride, shape", [(24, 1, (1, 24, 8, 8)), (16, 2, (1, 16, 4, 4))])
def test_a_block_that_changes_the_shape_has_no_shortcut(out_channels, stride, shape):
    block = InvertedResidual(16, out_channels, stride=stride, hidden=32).set_train(False)
    block.project.norm.gamma.set_data(Tensor(np.zeros(out_channels, np.float32)))
    y = block(features(16)).asnumpy()
    assert y.shape == shape and not y.any()


@pytest.mark.parametrize("last_activation", [False, True])
def test_a_block_projects_without_activation_unless_asked(last_activation):
    block = InvertedResidual(16, 24, stride=1, hidden=32, last_activation=last_activation).set_train(False)
    has_negative_values = (block(features(16)).asnumpy() < 0).any()
    assert has_negative_values != last_activation


def test_a_block_without_expansion_starts_depthwise():
    names = [parameter.name for parameter in InvertedResidual(16, 8, 1, hidden=16).get_parameters()]
    assert names and not any("expand" in name for name in names)
