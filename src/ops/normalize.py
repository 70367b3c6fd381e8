"""Normalises image batches on the device."""
from __future__ import annotations

from typing import Sequence

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class NormalizeImages(nn.Cell):
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, (x - mean) / std per channel."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.mean = Tensor(np.asarray(mean, np.float32))
        self.std = Tensor(np.asarray(std, np.float32))

    def construct(self, images):
        return ops.transpose((images.astype(mstype.float32) - self.mean) / self.std, (0, 3, 1, 2))
