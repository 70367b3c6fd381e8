import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.res2net import Res2NetBlock, res2net


def test_maps_have_the_promised_depths_and_strides():
    maps = res2net(50).set_train(False)(Tensor(np.zeros((1, 3, 64, 96), np.float32)))
    assert [features.shape for features in maps] == [
        (1, 256, 16, 24), (1, 512, 8, 12), (1, 1024, 4, 6), (1, 2048, 2, 3)]


@pytest.mark.parametrize("hidden, width", [(64, 26), (128, 52), (256, 104), (512, 208)])
def test_widths_of_the_groups(hidden, width):
    block = Res2NetBlock(hidden * 4, hidden, stride=1)
    assert block.reduce.conv.out_channels == 4 * width
    assert [group.conv.in_channels for group in block.groups] == [width] * 3


def test_a_new_block_of_equal_shape_is_the_identity():
    block = Res2NetBlock(256, 64, stride=1).set_train(False)
    x = Tensor(np.random.default_rng(0).random((1, 256, 8, 8)).astype(np.float32))
    np.testing.assert_array_equal(block(x).asnumpy(), x.asnumpy())


@pytest.mark.parametrize("in_channels, stride, side", [(64, 1, 8), (256, 2, 4)])
def test_a_block_that_changes_the_shape_projects_its_shortcut(in_channels, stride, side):
    block = Res2NetBlock(in_channels, 64 * stride, stride).set_train(False)
    x = Tensor(np.random.default_rng(0).random((1, in_channels, 8, 8)).astype(np.float32))
    assert block(x).shape == (1, 256 * stride, side, side)


def test_groups_are_chained_where_the_shape_stays():
    # What the first group sees reaches the second one by addition, and none of the groups of a block that changes it.
    x = np.random.default_rng(0).random((1, 256, 8, 8)).astype(np.float32)
    for in_channels, chained in ((256, True), (64, False)):
        block = Res2NetBlock(in_channels, 64, stride=1).set_train(False)
        seen = []
        block.groups[1].register_forward_pre_hook(lambda _cell, inputs, seen=seen: seen.append(inputs[0].asnumpy()))
        block(Tensor(x[:, :in_channels]))
        parts = np.split(block.reduce(Tensor(x[:, :in_channels])).asnumpy(), 4, axis=1)
        first = block.groups[0](Tensor(parts[0])).asnumpy()
        np.testing.assert_allclose(seen[0], parts[1] + first if chained else parts[1], atol=1e-6)
