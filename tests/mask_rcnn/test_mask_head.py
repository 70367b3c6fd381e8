import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from src.mask_rcnn.mask_head import DoubleSize, MaskHead

RNG = np.random.default_rng(0)


def test_doubling_the_size_is_a_transposed_convolution_of_stride_two():
    layer = DoubleSize(3, 2)
    weight, bias, x = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 2, 2, 2), (2,), (4, 3, 5, 6)))
    layer.weight.set_data(Tensor(weight))
    layer.bias.set_data(Tensor(bias))

    found = layer(Tensor(x)).asnumpy().reshape(4, 2, 2, 2, 5, 6)

    for row, column in np.ndindex(2, 2):
        want = np.einsum("nchw,cd->ndhw", x, weight[:, :, row, column]) + bias[None, :, None, None]
        np.testing.assert_allclose(found[:, row, column], want, atol=1e-5)


def test_the_head_puts_cells_in_their_places():
    head = MaskHead(in_channels=3, channels=3, classes=1)
    head.convs = nn.CellList()
    for parameter, value in ((head.upscale.weight, np.ones((3, 3, 2, 2))), (head.logits.weight, np.ones((1, 3, 1, 1)))):
        parameter.set_data(Tensor(value.astype(np.float32)))
    head.upscale.weight[:, :, 1, 0] = 2  # lower left of the four
    x = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3).repeat(3, 1)

    (found,) = head(Tensor(x)).asnumpy()[0]

    np.testing.assert_allclose(found[::2, ::2], 9 * x[0, 0])
    np.testing.assert_allclose(found[1::2, ::2], 18 * x[0, 0])


def test_the_head_gives_a_map_of_twice_the_size_for_every_class():
    head = MaskHead(in_channels=6, channels=5, classes=4)

    assert head(Tensor(RNG.standard_normal((3, 6, 7, 7)).astype(np.float32))).shape == (3, 4, 14, 14)


def test_every_layer_learns():
    head = MaskHead(6, 5, 4)
    features = Tensor(RNG.standard_normal((3, 6, 7, 7)).astype(np.float32))
    gradient = ms.value_and_grad(lambda: ops.square(head(features)).mean(), None, head.trainable_params())

    _, gradients = gradient()

    assert len(gradients) == 12
    assert all(np.abs(one.asnumpy()).max() > 0 for one in gradients)


@pytest.mark.parametrize("value", [0.5, 1.0])
def test_it_starts_at_a_probability_of_about_one_half(value):
    """Xavier-normal weights without bias: the sign of an untrained logit is a coin."""
    ms.set_seed(1)
    head = MaskHead(64, 64, 8)
    features = Tensor(np.maximum(RNG.standard_normal((4, 64, 7, 7)), 0).astype(np.float32) * value)
    assert 0.3 < ops.sigmoid(head(features)).mean().asnumpy() < 0.7
