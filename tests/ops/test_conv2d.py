import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from src.ops.conv2d import Conv2d, LeanConvolution

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("height", [16, 11, 8], ids=["whole strips", "a last strip beyond the map", "no strips"])
def test_gradients_are_those_of_mindspores_convolution(height):
    x = Tensor(RNG.standard_normal((2, 3, height, 10)).astype("f4"))
    factors = Tensor(RNG.standard_normal((2, 5, height, 10)).astype("f4"))
    ours, theirs = (layer(3, 5, 3, pad_mode="pad", padding=1, has_bias=True) for layer in (Conv2d, nn.Conv2d))
    theirs.weight.set_data(ours.weight)
    theirs.bias.set_data(ours.bias)
    found, want = (ms.value_and_grad(lambda x, layer=layer: (layer(x) * factors).sum(), 0,
                                     ms.ParameterTuple(layer.trainable_params()))(x) for layer in (ours, theirs))
    assert isinstance(ours.convolution, LeanConvolution)
    for one, other in zip((found[0], found[1][0], *found[1][1]), (want[0], want[1][0], *want[1][1])):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), atol=2e-4)


@pytest.mark.parametrize("settings", [{"stride": 2}, {"dilation": 2}, {"group": 2}, {"kernel_size": 1},
                                      {"pad_mode": "valid"}], ids=str)
def test_other_convolutions_are_left_to_mindspore(settings):
    layer = Conv2d(4, 4, **{"kernel_size": 3, **settings})
    assert layer.convolution is layer.conv2d
