"""Modulated deformable convolution as matrix products and a gather. It trains several times faster on a CPU than
MindSpore's operator, and it exports to ONNX, which MindSpore's operator does not."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

KERNEL = 3
TAPS = KERNEL * KERNEL
CORNERS = 4


class DeformConv(nn.Cell):
    """3x3 convolution of stride 1 whose sampling points are predicted from its input (Zhu et al. 2018, "Deformable

    The offsets start at 0 and the modulation at 0.5, as in the paper.
    construct: (B, in_channels, H, W) -> (B, out_channels, H, W).
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, KERNEL, pad_mode="pad", padding=1, has_bias=True)
        self.offset = nn.Conv2d(in_channels, 3 * TAPS, KERNEL, pad_mode="pad", padding=1, has_bias=True,
                                weight_init="zeros", bias_init="zeros")

    def construct(self, x):
        where = self.offset(x)
        offsets, modulation = where[:, :2 * TAPS], ops.sigmoid(where[:, 2 * TAPS:])
        return deform_conv(x, offsets, modulation, self.conv.weight) + self.conv.bias.reshape((1, -1, 1, 1))


def deform_conv(x: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor) -> Tensor:
    """The convolution with given offsets (dy, dx per tap) and modulation.

    x (B, C, H, W), offsets (B, 18, H, W), modulation (B, 9, H, W), weight (D, C, 3, 3) -> (B, D, H, W).
    Tap k of output cell p adds modulation_k * weight_k x(p + p_k + offset_k), where x is interpolated bilinearly and is
    0 outside. Interpolation and mixing of channels are both linear. Channels are mixed first, once per cell and tap,
    because D is smaller than C in CenterNet, so that less data is gathered.
    """
    batch, channels, height, width = x.shape
    depth = weight.shape[0]
    cells = ops.transpose(x.reshape((batch, channels, height * width)), (0, 2, 1)).reshape((-1, channels))
    mixing = ops.transpose(weight.reshape((depth, channels, TAPS)), (1, 2, 0)).reshape((channels, TAPS * depth))
    mixed = ops.matmul(cells, mixing).reshape((-1, depth))                       # row: (image, cell, tap)
    index, share = corner_samples(offsets)
    share = share.astype(x.dtype) * ops.tile(ops.transpose(modulation, (0, 2, 3, 1)).reshape((-1, TAPS)), (1, CORNERS))
    taken = ops.gather(mixed, index.reshape(-1), 0).reshape((-1, CORNERS * TAPS, depth))
    summed = ops.matmul(share.expand_dims(1), taken)
    return ops.transpose(summed.reshape((batch, height, width, depth)), (0, 3, 1, 2))


def corner_samples(offsets: Tensor) -> tuple[Tensor, Tensor]:
    """offsets (B, 18, H, W) -> rows of the table (image, cell, tap) to read, and the bilinear weight of each.

    Both (B * H * W, 4 * 9): for each output cell the upper left, upper right, lower left and lower right neighbours of
    its nine taps. Neighbours outside the map have weight 0. Computed in float32 for any input: in a map of 128 cells,
    float16 resolves positions only to a sixteenth of a cell.
    """
    batch, _, height, width = offsets.shape
    points = ops.transpose(offsets.astype(ms.float32).reshape((batch, TAPS, 2, height, width)), (2, 0, 3, 4, 1))
    rows, columns, first = _grid(batch, height, width)
    y, x = points[0] + rows, points[1] + columns
    top, left = ops.floor(y), ops.floor(x)
    below, right = y - top, x - left
    index, share = (), ()
    for down in (0, 1):
        for aside in (0, 1):
            row, column = top + down, left + aside
            inside = ((row >= 0).astype(x.dtype) * (row <= height - 1).astype(x.dtype)
                      * (column >= 0).astype(x.dtype) * (column <= width - 1).astype(x.dtype))
            part = (below if down else 1 - below) * (right if aside else 1 - right)
            cell = ops.clamp(row, 0, height - 1) * width + ops.clamp(column, 0, width - 1)
            index += ((cell.astype(ms.int32) * TAPS + first).reshape((-1, TAPS)),)  # type: ignore[assignment]
            share += ((part * inside).reshape((-1, TAPS)),)  # type: ignore[assignment]
    return ops.concat(index, 1), ops.concat(share, 1)


@ops.constexpr
def _grid(batch: int, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each tap without offset: its row (H, 1, 9), its column (1, W, 9), and the first row of the table for its
    image and tap (B, 1, 1, 9)."""
    down, aside = np.divmod(np.arange(TAPS), KERNEL)
    rows = np.arange(height)[:, None, None] + down - 1
    columns = np.arange(width)[None, :, None] + aside - 1
    first = np.arange(batch)[:, None, None, None] * (height * width * TAPS) + np.arange(TAPS)
    return Tensor(rows, ms.float32), Tensor(columns, ms.float32), Tensor(first, ms.int32)
