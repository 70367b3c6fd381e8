"""Res2Net (Gao et al. 2019, https://arxiv.org/abs/1904.01169): ResNet with several scales inside each block."""
from __future__ import annotations

from typing import Any

from mindspore import nn, ops

from src.backbones.depths import RESNET_EXPANSION
from src.backbones.layers import ConvNorm, Pool
from src.backbones.resnet import STEM_CHANNELS, ResNet

SCALES = 4          # groups of channels in a block
BASE_WIDTH = 26     # channels of a group in a stage whose hidden layer has 64 channels in a ResNet
RESNET_WIDTH = 64


class Res2NetBlock(nn.Cell):
    """ResNet's bottleneck with its 3x3 convolution replaced by a chain of smaller ones (figure 2b).

    In a block that changes the shape the groups are not chained: each goes through its own convolution, the last one
    through average pooling. Its shortcut halves the sides by max pooling in front of the 1x1 convolution, as in the
    zoo, or, if padding is `symmetric`, by average pooling, as in PyTorch's libraries. norm: eps and
    momentum of the batch norms.
    """

    def __init__(self, in_channels: int, hidden: int, stride: int, symmetric: bool = False, **norm: Any):
        super().__init__()
        layer = {"symmetric": symmetric, **norm}
        out_channels, width = hidden * RESNET_EXPANSION, hidden * BASE_WIDTH // RESNET_WIDTH
        self.reduce = ConvNorm(in_channels, width * SCALES, 1, activation=nn.ReLU(), **layer)
        # In the zoo these are padded on every side, too, unlike the stem and the pooling.
        self.groups = nn.CellList([ConvNorm(width, width, 3, stride, activation=nn.ReLU(), symmetric=True, **norm)
                                   for _ in range(SCALES - 1)])
        self.expand = ConvNorm(width * SCALES, out_channels, 1, **layer)
        self.expand.norm.gamma.set_data(self.expand.norm.gamma * 0)
        self.pool = self.shortcut_pool = self.shortcut = None
        if stride > 1 or in_channels != out_channels:
            self.pool = Pool(nn.AvgPool2d, stride, symmetric)
            self.shortcut = ConvNorm(in_channels, out_channels, 1, **layer)
        if stride > 1:
            self.shortcut_pool = (nn.AvgPool2d if symmetric else nn.MaxPool2d)(stride, stride)
        self.activation = nn.ReLU()

    def construct(self, x):
        parts = ops.chunk(self.reduce(x), SCALES, 1)
        outputs = ()
        for index, group in enumerate(self.groups):
            chained = index > 0 and self.pool is None
            outputs += (group(parts[index] + outputs[index - 1] if chained else parts[index]),)
        outputs += (parts[-1] if self.pool is None else self.pool(parts[-1]),)
        shortcut = x if self.shortcut_pool is None else self.shortcut_pool(x)
        shortcut = shortcut if self.shortcut is None else self.shortcut(shortcut)
        return self.activation(self.expand(ops.concat(outputs, 1)) + shortcut)


def res2net(depth: int, *, symmetric: bool = False, symmetric_pool: bool = False, **norm: Any) -> ResNet:
    """Res2Net-50, -101 or -152 with a stem of three 3x3 convolutions ("v1b"); the arguments are ResNet's."""
    layer = {"symmetric": symmetric, **norm}
    stem = nn.SequentialCell([ConvNorm(3, STEM_CHANNELS // 2, 3, 2, activation=nn.ReLU(), **layer),
                              ConvNorm(STEM_CHANNELS // 2, STEM_CHANNELS // 2, 3, activation=nn.ReLU(), **layer),
                              ConvNorm(STEM_CHANNELS // 2, STEM_CHANNELS, 3, activation=nn.ReLU(), **layer)])
    return ResNet(depth, stem=stem, block=Res2NetBlock, symmetric_pool=symmetric_pool, **layer)
