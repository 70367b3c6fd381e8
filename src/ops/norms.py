"""The batch norms of a network: which statistics they use, and what these are."""
from __future__ import annotations

import numpy as np
from mindspore import nn


def use_statistics(cell: nn.Cell, *, moving: bool) -> None:
    """Let the batch norms of `cell` always use their moving statistics, and leave these as they are, or always those
    of the batch; without this, training uses the batch's and inference the moving ones."""
    for _, layer in cell.cells_and_names():
        if isinstance(layer, nn.BatchNorm2d):
            layer.use_batch_statistics = not moving


def has_folded_norms(network: nn.Cell) -> bool:
    """Whether every batch norm passes its input on unchanged but for gamma and beta: mean 0, variance 1 - eps."""
    norms = [cell for _, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)]
    return bool(norms) and all((cell.moving_mean.asnumpy() == 0).all() and
                               np.allclose(cell.moving_variance.asnumpy(), 1 - cell.eps, rtol=0, atol=1e-6)
                               for cell in norms)
