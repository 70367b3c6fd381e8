"""Convolution, norm and activation: the brick that all bodies and heads are built from."""
from __future__ import annotations

from typing import Optional

from mindspore import nn


class ConvNorm(nn.Cell):
    """Convolution without bias, batch norm, and an optional activation.

    Padding is "same" in TensorFlow's sense: a strided 3x3 convolution on an even side pads right and bottom only;
    with `symmetric` both sides are padded alike, as in PyTorch.
    `momentum` is the weight of the old moving statistic (MindSpore's convention; PyTorch's is 1 - momentum).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1,
                 activation: Optional[nn.Cell] = None, symmetric: bool = False, eps: float = 1e-3,
                 momentum: float = 0.97):
        super().__init__()
        padding = {"pad_mode": "pad", "padding": kernel_size // 2} if symmetric else {"pad_mode": "same"}
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, group=groups, **padding)
        self.norm = nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)
        self.activation = activation

    def construct(self, x):
        x = self.norm(self.conv(x))
        if self.activation is not None:
            x = self.activation(x)
        return x
