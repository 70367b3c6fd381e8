"""Convolution, norm and activation: the building block of all backbones and heads."""
from __future__ import annotations

from typing import Callable, Optional

from mindspore import nn, ops

from src.ops.conv2d import Conv2d


class ConvNorm(nn.Cell):
    """Convolution without bias, batch norm, and an optional activation.

    Padding is "same" in TensorFlow's sense: a strided 3x3 convolution on an even side pads right and bottom only;
    `symmetric` asks for the same number of cells on every side instead, as PyTorch's networks have it.
    `momentum` is the weight of the old moving statistic (MindSpore's convention; PyTorch's is 1 - momentum).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1,
                 symmetric: bool = False, activation: Optional[nn.Cell] = None, eps: float = 1e-3,
                 momentum: float = 0.97):
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, group=groups,
                           pad_mode="pad" if symmetric else "same", padding=kernel_size // 2 if symmetric else 0)
        self.norm = nn.BatchNorm2d(out_channels, eps=eps, momentum=momentum)
        self.activation = activation

    def construct(self, x):
        x = self.norm(self.conv(x))
        if self.activation is not None:
            x = self.activation(x)
        return x


class Pool(nn.Cell):
    """3x3 pooling of values that are not negative; `symmetric` as in ConvNorm.

    kind: nn.MaxPool2d or nn.AvgPool2d. construct: (B, C, H, W) -> (B, C, H/stride, W/stride), sides rounded up.
    """

    def __init__(self, kind: Callable, stride: int, symmetric: bool = False):
        super().__init__()
        # Not pad_mode "pad", which cannot be exported to ONNX. Zeros also suit the maximum: no value is below 0.
        self.pad = ops.Pad(((0, 0), (0, 0), (1, 1), (1, 1))) if symmetric else None
        self.pool = kind(3, stride, pad_mode="valid" if symmetric else "same")

    def construct(self, x):
        return self.pool(x if self.pad is None else self.pad(x))
