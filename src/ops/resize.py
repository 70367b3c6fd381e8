"""Resizing of feature maps in forms that export to ONNX, where MindSpore's own bilinear operator does not."""
from __future__ import annotations

from typing import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def resize_bilinear(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size): corners not aligned, no half-pixel centres (the old `ResizeBilinear`).

    Interpolation is linear in rows and in columns, so it is a matrix product from either side.
    """
    rows = _interpolation(maps.shape[2], size[0]).astype(maps.dtype)
    columns = _interpolation(maps.shape[3], size[1]).astype(maps.dtype)
    return ops.matmul(rows, ops.matmul(maps, columns.T))


@ops.constexpr
def _interpolation(size: int, new_size: int) -> Tensor:
    """(new_size, size): row k holds the weights of the old cells in new cell k, which lies at k * size / new_size."""
    positions = np.minimum(np.arange(new_size) * (size / new_size), size - 1)
    distances = np.abs(positions[:, None] - np.arange(size)[None])
    return Tensor(np.maximum(1 - distances, 0), ms.float32)
