"""Region proposal network (Ren et al. 2015, section 3.1): objectness and box deltas of every anchor."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

from src.ops.cell_table import CellTable, image_of_each, level_layout

KERNEL = 3
TAPS = KERNEL * KERNEL


class RPNHead(nn.Cell):
    """A 3x3 convolution and two 1x1 convolutions that all levels share.

    construct: levels, tuple of (B, C, h, w) -> per level objectness logits (B, h*w*A) and deltas (B, h*w*A, 4), in
    the order of `pyramid_anchors`.
    """

    def __init__(self, channels: int, anchors_per_cell: int):
        super().__init__()
        self.conv = _convolution(channels, channels, KERNEL)
        self.activation = nn.ReLU()
        self.objectness = _convolution(channels, anchors_per_cell, 1)
        self.deltas = _convolution(channels, anchors_per_cell * 4, 1)
        self.anchors_per_cell = anchors_per_cell
        self.table = CellTable()

    def construct(self, levels):
        objectness, deltas = (), ()
        for features in levels:
            features = self.activation(self.conv(features))
            batch = features.shape[0]
            objectness += (ops.transpose(self.objectness(features), (0, 2, 3, 1)).reshape(batch, -1),)
            deltas += (ops.transpose(self.deltas(features), (0, 2, 3, 1)).reshape(batch, -1, 4),)
        return objectness, deltas

    def of_anchors(self, levels: tuple, index: Tensor) -> tuple:
        """Objectness (B, S) and deltas (B, S, 4) of the anchors `index` (B, S), numbered as in what construct returns.

        A loss looks at some hundred anchors of some hundred thousand. Here only their cells are convolved, and the
        gradient takes the same short way: through `construct` it would cost as much as three stages of a ResNet.
        """
        batch, count = index.shape
        index = index.reshape(-1)
        cell = ops.floor_divide(index, self.anchors_per_cell)
        anchor = index - cell * self.anchors_per_cell
        patches = self._patches(levels, cell, image_of_each(batch, count))
        features = self.activation(_matmul(patches, self.conv))
        objectness = _matmul(features, self.objectness).reshape(-1, 1)
        deltas = _matmul(features, self.deltas).reshape(-1, 4)
        row = ops.arange(batch * count).astype(ms.int32) * self.anchors_per_cell + anchor
        return (ops.gather(objectness, row, 0).reshape(batch, count),
                ops.gather(deltas, row, 0).reshape(batch, count, 4))

    def _patches(self, levels, cell, image):
        """What the 3x3 kernel sees around the cells (R,), numbered over all levels of their image: (R, 9 C)."""
        sizes = tuple(features.shape[2:] for features in levels)
        begins = _begins(sizes)
        level = (cell.expand_dims(-1) >= begins).astype(ms.int32).sum(-1).astype(ms.int32) - 1
        first_cells, heights, widths = level_layout(levels[0].shape[0], sizes)
        heights, widths = heights[level], widths[level]
        cell = cell - begins[level]
        row = ops.floor_divide(cell, widths)
        down, across = _offsets()
        rows, columns = row[:, None] + down, (cell - row * widths)[:, None] + across
        heights, widths = heights[:, None], widths[:, None]
        inside = ops.logical_and(ops.logical_and(rows >= 0, rows < heights),
                                 ops.logical_and(columns >= 0, columns < widths))
        in_image = ops.where(inside, rows * widths + columns, ops.zeros_like(rows))
        table = self.table(levels)
        taps = ops.gather(table, ((first_cells[level] + image * heights[:, 0] * widths[:, 0])[:, None]
                                  + in_image).reshape(-1), 0)
        return (taps * inside.reshape(-1, 1).astype(taps.dtype)).reshape(-1, TAPS * table.shape[1])


def _matmul(rows: Tensor, conv: nn.Conv2d) -> Tensor:
    """What the convolution gives for rows of (taps, channels)."""
    outputs = conv.weight.shape[0]
    weight = ops.transpose(conv.weight.astype(rows.dtype), (2, 3, 1, 0)).reshape(-1, outputs)
    return ops.matmul(rows, weight) + conv.bias.astype(rows.dtype)


@ops.constexpr
def _begins(sizes: tuple) -> Tensor:
    """(levels,) int32: the number of each level's first cell in an image."""
    return Tensor(np.cumsum([0] + [height * width for height, width in sizes[:-1]]), ms.int32)


@ops.constexpr
def _offsets() -> tuple:
    """Rows down and columns across from a cell to the nine cells under the kernel, (9,) int32 each."""
    return tuple(Tensor(axis.ravel() - KERNEL // 2, ms.int32) for axis in np.mgrid[:KERNEL, :KERNEL])


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, has_bias=True, weight_init=Normal(0.01),
                     bias_init="zeros")
