"""The cheaper gradient of depthwise convolutions is the gradient that MindSpore computes."""
from __future__ import annotations

import numpy as np
import pytest
from mindspore import ParameterTuple, Tensor, nn, ops

from src.ops.conv2d import Conv2d, DepthwiseConvolution


class Gradients(nn.Cell):
    """(input gradient, weight gradient) of a network of one weight."""

    def __init__(self, network):
        super().__init__()
        self.network, self.weights = network, ParameterTuple(network.trainable_params())
        self.gradients = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x, gradient):
        return self.gradients(self.network, self.weights)(x, gradient)


@pytest.mark.parametrize("shape", [(2, 6, 7, 9), (1, 3, 1, 1), (2, 4, 2, 5)])
@pytest.mark.parametrize("side", [3, 5])
def test_gradients_are_those_of_the_built_in_ones(shape, side):
    rng = np.random.default_rng(0)
    x, gradient = (Tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    built_in, convolution = (layer(shape[1], shape[1], side, group=shape[1]) for layer in (nn.Conv2d, Conv2d))
    convolution.weight.set_data(built_in.weight)
    before = built_in(x).asnumpy(), Gradients(built_in)(x, gradient)

    assert isinstance(convolution.convolution, DepthwiseConvolution)
    (of_input,), (of_weight,) = Gradients(convolution)(x, gradient)
    np.testing.assert_array_equal(convolution(x).asnumpy(), before[0])
    np.testing.assert_allclose(of_input.asnumpy(), before[1][0][0].asnumpy(), atol=1e-5)
    np.testing.assert_allclose(of_weight.asnumpy(), before[1][1][0].asnumpy(), atol=1e-5)


@pytest.mark.parametrize("settings", [
    {"stride": 2, "group": 4}, {"group": 1}, {"group": 2}, {"dilation": 2, "group": 4},
    {"pad_mode": "pad", "padding": 2, "group": 4}, {"kernel_size": 2, "group": 4}])
def test_other_convolutions_stay_as_they_are(settings):
    convolution = Conv2d(4, 4, **{"kernel_size": 3, **settings})
    assert not isinstance(convolution.convolution, DepthwiseConvolution)


def test_names_of_parameters_stay():
    networks = (nn.SequentialCell(layer(4, 4, 3, group=4), layer(4, 8, 1)) for layer in (nn.Conv2d, Conv2d))
    names, ours = ([name for name, _ in network.parameters_and_names()] for network in networks)
    assert ours == names
