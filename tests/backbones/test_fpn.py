import numpy as np
from mindspore import Tensor, nn

from src.backbones.fpn import FPN


def test_maps_keep_their_sizes_also_where_a_size_is_odd():
    # An image of 320 gives 40, 20, 10; one of 296 gives 37, 19, 10, where doubling does not lead to the finer map.
    fpn = FPN((8, 16, 24), 4, lambda: nn.Conv2d(4, 4, 3)).set_train(False)
    for sizes in ((40, 20, 10), (37, 19, 10)):
        maps = [Tensor(np.zeros((1, c, side, side), np.float32)) for c, side in zip((8, 16, 24), sizes)]
        assert [features.shape for features in fpn(tuple(maps))] == [(1, 4, side, side) for side in sizes]


def test_what_the_coarsest_map_saw_reaches_the_finest():
    fpn = FPN((2, 2), 2, lambda: nn.Conv2d(2, 2, 3)).set_train(False)
    fine, coarse = np.zeros((1, 2, 4, 4), np.float32), np.zeros((1, 2, 2, 2), np.float32)
    without = fpn((Tensor(fine), Tensor(coarse)))[0].asnumpy()
    with_more = fpn((Tensor(fine), Tensor(coarse + 5)))[0].asnumpy()
    assert not np.allclose(without, with_more)


def test_of_more_maps_the_last_are_taken():
    fpn = FPN((2, 3), 4, lambda: nn.Conv2d(4, 4, 3)).set_train(False)
    maps = tuple(Tensor(np.zeros((1, c, side, side), np.float32)) for c, side in ((7, 8), (2, 4), (3, 2)))
    assert [features.shape[2] for features in fpn(maps)] == [4, 2]
