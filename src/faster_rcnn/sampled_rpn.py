"""The region proposal network, computed only at the anchors that its loss needs."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from src.faster_rcnn.rpn import KERNEL, RPNHead
from src.ops.cell_table import CellTable, image_of_each, level_layout

TAPS = KERNEL * KERNEL


class SampledRPN(nn.Cell):
    """The output of RPNHead for some hundred of some hundred thousand anchors.

    Only the cells of these anchors are convolved, forward and backward; the gradient through whole maps would take as
    long as three stages of a ResNet.
    construct: levels, tuple of (B, C, h, w), and index (B, S) int32 of anchors, numbered over all levels in the order
    of `pyramid_anchors` -> objectness logits (B, S) and deltas (B, S, 4).
    """

    def __init__(self, head: RPNHead):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.head = head
        self.table = CellTable()

    def construct(self, levels: tuple, index: Tensor) -> tuple[Tensor, Tensor]:
        head, (batch, count) = self.head, index.shape
        index = index.reshape(-1)
        cell = ops.floor_divide(index, head.anchors_per_cell)
        anchor = index - cell * head.anchors_per_cell
        patches = self._patches(levels, cell, image_of_each(batch, count))
        features = head.activation(_matmul(patches, head.conv))
        objectness = _matmul(features, head.objectness).reshape(-1, 1)
        deltas = _matmul(features, head.deltas).reshape(-1, 4)
        row = ops.arange(batch * count).astype(ms.int32) * head.anchors_per_cell + anchor
        return (ops.gather(objectness, row, 0).reshape(batch, count),
                ops.gather(deltas, row, 0).reshape(batch, count, 4))

    def _patches(self, levels: tuple, cell: Tensor, image: Tensor) -> Tensor:
        """The 3x3 neighbourhoods (R, 9 C) of the cells (R,), numbered over all levels of their image."""
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
    """The convolution's result for rows of (taps, channels)."""
    outputs = conv.weight.shape[0]
    weight = ops.transpose(conv.weight.astype(rows.dtype), (2, 3, 1, 0)).reshape(-1, outputs)
    return ops.matmul(rows, weight) + conv.bias.astype(rows.dtype)


@ops.constexpr
def _begins(sizes: tuple) -> Tensor:
    """(levels,) int32: the number of each level's first cell in an image."""
    return Tensor(np.cumsum([0] + [height * width for height, width in sizes[:-1]]), ms.int32)


@ops.constexpr
def _offsets() -> tuple[Tensor, ...]:
    """Rows down and columns across from a cell to the nine cells under the kernel, (9,) int32 each."""
    return tuple(Tensor(axis.ravel() - KERNEL // 2, ms.int32) for axis in np.mgrid[:KERNEL, :KERNEL])
