"""MobileNetV1 (Howard et al. 2017, https://arxiv.org/abs/1704.04861)."""
from __future__ import annotations

from typing import Any, Sequence

from mindspore import nn

from src.backbones.depths import MOBILENET_V1_BLOCKS
from src.backbones.layers import ConvNorm

STEM_CHANNELS = 32
NORM: dict[str, Any] = {"eps": 1e-5, "momentum": 0.9}


class SeparableBlock(nn.Cell):
    """Depthwise 3x3, then 1x1, each with norm and ReLU6 (section 3.1)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, symmetric: bool):
        super().__init__()
        self.depthwise = ConvNorm(in_channels, in_channels, 3, stride, groups=in_channels, activation=nn.ReLU6(),
                                  symmetric=symmetric, **NORM)
        self.pointwise = ConvNorm(in_channels, out_channels, 1, activation=nn.ReLU6(), **NORM)

    def construct(self, x):
        return self.pointwise(self.depthwise(x))


class MobileNetV1(nn.Cell):
    """Returns the outputs of some blocks.

    taps: numbers of the blocks whose output is returned, from 1. symmetric: how strided layers pad, see ConvNorm.
    construct: (B, 3, H, W) -> a map (B, C, h, w) per tap, sides rounded up.
    """

    def __init__(self, taps: Sequence[int], *, symmetric: bool = False):
        super().__init__()
        self.taps = tuple(taps)
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, 2, activation=nn.ReLU6(), symmetric=symmetric, **NORM)
        in_channels = (STEM_CHANNELS,) + tuple(channels for channels, _ in MOBILENET_V1_BLOCKS)
        self.blocks = nn.CellList([SeparableBlock(before, channels, stride, symmetric)
                                   for before, (channels, stride) in zip(in_channels, MOBILENET_V1_BLOCKS)])

    def construct(self, x):
        x = self.stem(x)
        maps = ()
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number + 1 in self.taps:
                maps += (x,)
        return maps
