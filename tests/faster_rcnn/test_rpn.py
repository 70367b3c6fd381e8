import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from src.faster_rcnn.rpn import RPNHead
from src.faster_rcnn.sampled_rpn import SampledRPN

RNG = np.random.default_rng(0)
SIZES = ((4, 6), (2, 3), (1, 2))
ANCHORS = 3


@pytest.fixture(scope="module")
def levels():
    return tuple(Tensor(RNG.standard_normal((2, 5, *size)).astype("f4")) for size in SIZES)


@pytest.fixture(scope="module")
def head():
    head = RPNHead(5, ANCHORS)
    for parameter in head.get_parameters():
        parameter.set_data(Tensor(RNG.standard_normal(parameter.shape).astype("f4")))
    return head


def every_anchor():
    """The anchors of all levels, in another order for each picture."""
    count = ANCHORS * sum(height * width for height, width in SIZES)
    return np.stack([RNG.permutation(count) for _ in range(2)]).astype("i4")


def test_sampled_anchors_get_what_the_whole_maps_have_there(head, levels):
    index = every_anchor()
    objectness, deltas = (np.concatenate([level.asnumpy() for level in levels], 1) for levels in head(levels))
    found = SampledRPN(head)(levels, Tensor(index))
    np.testing.assert_allclose(found[0].asnumpy(), np.take_along_axis(objectness, index, 1), atol=1e-4)
    np.testing.assert_allclose(found[1].asnumpy(), np.take_along_axis(deltas, index[..., None], 1), atol=1e-4)


def test_gradients_of_some_anchors_are_those_through_the_whole_maps(head, levels):
    index = every_anchor()[:, :7]
    factors = Tensor(RNG.standard_normal((2, 7, 5)).astype("f4"))

    def loss(objectness, deltas):
        return (objectness * factors[:, :, 0]).sum() + (deltas * factors[:, :, 1:]).sum()

    sampled = SampledRPN(head)

    def short(*levels):
        return loss(*sampled(levels, Tensor(index)))

    def through_maps(*levels):
        objectness, deltas = head(levels)
        picked = Tensor(index + np.array([[0], [every_anchor().shape[1]]], "i4"))
        return loss(ms.ops.concat(objectness, 1).reshape(-1)[picked], ms.ops.concat(deltas, 1).reshape(-1, 4)[picked])

    weights = ms.ParameterTuple(head.trainable_params())
    found, want = (ms.value_and_grad(function, (0, 1, 2), weights)(*levels) for function in (short, through_maps))
    np.testing.assert_allclose(found[0].asnumpy(), want[0].asnumpy(), rtol=1e-4)
    for one, other in zip((*found[1][0], *found[1][1]), (*want[1][0], *want[1][1])):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), atol=1e-3)
