"""The batch norms of a network: which statistics they use, and what these are."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops


def use_statistics(cell: nn.Cell, *, moving: bool) -> None:
    """Let the batch norms of `cell` always use their moving statistics, and leave these as they are, or always those
    of the batch; without this, training uses the batch's and inference the moving ones."""
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.BatchNorm2d):
            layer.use_batch_statistics = not moving


def synchronise_norms(cell: nn.Cell, ranks: int) -> None:
    """Let the batch norms of `cell` use the statistics of the images of all ranks in training."""
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.BatchNorm2d) and layer.use_batch_statistics is not False:
            layer.bn_train = SharedBatchNorm(ranks, layer.eps, layer.momentum)


class SharedBatchNorm(nn.Cell):
    """Batch norm over the images of all ranks, for the place of the operator in nn.BatchNorm2d.

    ranks: their number. share: weight of the batch in the moving statistics. Two small collectives in each direction;
    the statistics are float32, also in a network of float16.
    construct: x (B, C, H, W), gamma, beta, moving mean and variance (C,) -> (normalised x,).
    """

    def __init__(self, ranks: int, eps: float, share: float):
        super().__init__()
        self.ranks = ranks
        self.eps = eps
        self.share = share
        self.sum_over_ranks = ops.AllReduce()

    def construct(self, x, gamma, beta, moving_mean, moving_variance):
        batch, channels, height, width = x.shape
        values = x.astype(ms.float32)
        mean = self.mean(values)
        centred = values - mean.reshape(1, channels, 1, 1)
        variance = self.mean(centred * centred)
        count = self.ranks * batch * height * width
        self.move(moving_mean, mean)
        self.move(moving_variance, variance * (count / max(1, count - 1)))
        scale = gamma * ops.rsqrt(variance + self.eps)
        return ((centred * scale.reshape(1, channels, 1, 1) + beta.reshape(1, channels, 1, 1)).astype(x.dtype),)

    def mean(self, values):
        """(B, C, H, W) -> (C,), over the images of all ranks."""
        return self.sum_over_ranks(values.mean((0, 2, 3))) / self.ranks

    def move(self, moving, value):
        ops.assign(moving, moving + (ops.stop_gradient(value) - moving) * self.share)


def has_folded_norms(network: nn.Cell) -> bool:
    """Whether every batch norm passes its input on unchanged but for gamma and beta: mean 0, variance 1 - eps."""
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    return bool(norms) and all((cell.moving_mean.asnumpy() == 0).all() and
                               np.allclose(cell.moving_variance.asnumpy(), 1 - cell.eps, rtol=0, atol=1e-6)
                               for cell in norms)
