"""The maps of a feature pyramid as one table with a row per cell, so that cells can be gathered by index."""
from __future__ import annotations

from functools import cache

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class CellTable(nn.Cell):
    """Maps (B, C, h, w) -> (cells, C): ordered by level, then image, then row of the map."""

    def __init__(self):
        super().__init__()
        self.on_cpu = ms.get_context("device_target") == "CPU"
        self.transposed_product = ops.BatchMatMul(transpose_a=True)

    def construct(self, maps):
        batch, channels = maps[0].shape[:2]
        table = ()
        for features in maps:
            if self.training and self.on_cpu:
                # Transposing is slower and keeps an index of eight bytes per number, forward and backward.
                rows = self.transposed_product(features.reshape(batch, channels, -1), _identity(batch, channels))
            else:
                rows = ops.transpose(features, (0, 2, 3, 1))
            table += (rows.reshape(-1, channels),)
        return ops.concat(table, 0)


@ops.constexpr
def level_layout(batch: int, sizes: tuple) -> tuple[Tensor, ...]:
    """First row of each level in the table of `batch` images, its height and its width, all (levels,) int32.

    sizes: (height, width) of each level.
    """
    first = np.cumsum([0] + [batch * height * width for height, width in sizes[:-1]])
    heights, widths = np.array(sizes).T
    return tuple(Tensor(array, ms.int32) for array in (first, heights, widths))


@ops.constexpr
def image_of_each(batch: int, count: int) -> Tensor:
    """(batch * count,) int32: the index of the image to which each of `count` rows per image belongs."""
    return Tensor(np.repeat(np.arange(batch), count), ms.int32)


@ops.constexpr
@cache  # one tensor for all, so that the compiler finds equal computations and does them once
def _identity(batch: int, size: int) -> Tensor:
    return Tensor(np.tile(np.eye(size), (batch, 1, 1)), ms.float32)
