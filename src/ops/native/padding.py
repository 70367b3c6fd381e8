"""How a convolution pads, and how large its output is; along one side of the map."""
from __future__ import annotations

from typing import Optional


def output_side(side: int, reach: int, stride: int, padding: Optional[int]) -> int:
    """Cells of the output. reach: of the kernel, dilation included. padding: cells on both ends; None = "same"."""
    return -(-side // stride) if padding is None else (side + 2 * padding - reach) // stride + 1


def padding_of(side: int, reach: int, stride: int, padding: Optional[int]) -> tuple[int, int]:
    """Cells of padding before the map and after it."""
    if padding is not None:
        return padding, padding
    total = max((output_side(side, reach, stride, None) - 1) * stride + reach - side, 0)
    return total // 2, total - total // 2
