"""MobileNetV2 (Sandler et al. 2018, https://arxiv.org/abs/1801.04381), the backbone of SSD300."""
from __future__ import annotations

from mindspore import nn

from src.backbones.depths import MOBILENET_V2_BLOCKS_AT_STRIDE_16, MOBILENET_V2_CHANNELS, MOBILENET_V2_STAGES
from src.backbones.layers import ConvNorm


class InvertedResidual(nn.Cell):
    """Expand 1x1, depthwise 3x3, project 1x1 without activation; a shortcut if the shape stays (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, hidden: int, *, last_activation: bool = False,
                 symmetric: bool = False):
        super().__init__()
        self.expand = ConvNorm(in_channels, hidden, 1, activation=nn.ReLU6()) if hidden != in_channels else None
        self.depthwise = ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6(),
                                  symmetric=symmetric)
        self.project = ConvNorm(hidden, out_channels, 1, activation=nn.ReLU6() if last_activation else None)
        self.shortcut = stride == 1 and in_channels == out_channels

    def construct(self, x):
        out = x if self.expand is None else self.expand(x)
        out = self.project(self.depthwise(out))
        return x + out if self.shortcut else out


class MobileNetV2(nn.Cell):
    """Returns the two maps from which SSD starts.

    symmetric: how strided layers pad, see ConvNorm.
    construct: (B, 3, H, W) -> (B, 576, H/16, W/16), (B, 1280, H/32, W/32), sides rounded up.
    """

    def __init__(self, *, symmetric: bool = False):
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2, activation=nn.ReLU6(), symmetric=symmetric)
        blocks, channels = [], 32
        for expansion, out_channels, repeats, stride in MOBILENET_V2_STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, out_channels, stride if index == 0 else 1,
                                               channels * expansion, symmetric=symmetric))
                channels = out_channels
        self.stage16 = nn.SequentialCell(blocks[:MOBILENET_V2_BLOCKS_AT_STRIDE_16])
        self.stage32 = nn.SequentialCell(blocks[MOBILENET_V2_BLOCKS_AT_STRIDE_16:])
        self.expand16 = ConvNorm(96, MOBILENET_V2_CHANNELS[0], 1, activation=nn.ReLU6())
        self.last = ConvNorm(channels, MOBILENET_V2_CHANNELS[1], 1, activation=nn.ReLU6())

    def construct(self, x):
        x = self.stage16(self.stem(x))
        return self.expand16(x), self.last(self.stage32(x))
