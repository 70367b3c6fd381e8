"""ResNet (He et al. 2015, https://arxiv.org/abs/1512.03385) with bottleneck blocks.

The stride of a block is on its 3x3 convolution ("v1.5"), as in the zoo and in torchvision, or on its first 1x1
convolution, as in the paper and in detectron2.
"""
from __future__ import annotations

from typing import Callable, Optional

from mindspore import nn

from src.backbones.depths import RESNET_BLOCKS, RESNET_EXPANSION, RESNET_HIDDEN
from src.backbones.layers import ConvNorm, Pool

STEM_CHANNELS = 64


class Bottleneck(nn.Cell):
    """1x1, 3x3, 1x1 and a shortcut, which is a 1x1 convolution if the shape changes (section 4.1).

    stride_first: the stride is on the first convolution, not on the 3x3 one. layer: more arguments of every ConvNorm
    (eps, momentum, symmetric). The last gamma starts at 0, so that a new block is the identity.
    """

    def __init__(self, in_channels: int, hidden: int, stride: int, stride_first: bool = False, **layer):
        super().__init__()
        out_channels = hidden * RESNET_EXPANSION
        first, second = (stride, 1) if stride_first else (1, stride)
        self.reduce = ConvNorm(in_channels, hidden, 1, first, activation=nn.ReLU(), **layer)
        self.spatial = ConvNorm(hidden, hidden, 3, second, activation=nn.ReLU(), **layer)
        self.expand = ConvNorm(hidden, out_channels, 1, **layer)
        self.expand.norm.gamma.set_data(self.expand.norm.gamma * 0)
        self.shortcut = None
        if stride > 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(in_channels, out_channels, 1, stride, **layer)
        self.activation = nn.ReLU()

    def construct(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return self.activation(self.expand(self.spatial(self.reduce(x))) + shortcut)


class ResNet(nn.Cell):
    """Returns the maps C2 to C5, the outputs of the four stages.

    depth: 50, 101 or 152. stem: Cell from (B, 3, H, W) to (B, STEM_CHANNELS, H/2, W/2); the paper's 7x7 convolution
    unless given. block: called like Bottleneck. symmetric_pool: as in PyTorch, see Pool. stride_first: see Bottleneck.
    layer: eps, momentum and symmetric of every ConvNorm.
    construct: (B, 3, H, W) -> four maps (B, C, H/stride, W/stride), sides rounded up.
    """

    def __init__(self, depth: int, *, stem: Optional[nn.Cell] = None, block: Callable = Bottleneck,
                 symmetric_pool: bool = False, stride_first: bool = False, **layer):
        super().__init__()
        of_block = {"stride_first": True, **layer} if stride_first else layer
        self.stem = stem or ConvNorm(3, STEM_CHANNELS, 7, 2, activation=nn.ReLU(), **layer)
        self.pool = Pool(nn.MaxPool2d, 2, symmetric_pool)
        stages, channels = [], STEM_CHANNELS
        for stage, (count, hidden) in enumerate(zip(RESNET_BLOCKS[depth], RESNET_HIDDEN)):
            blocks = []
            for index in range(count):
                blocks.append(block(channels, hidden, 2 if stage > 0 and index == 0 else 1, **of_block))
                channels = hidden * RESNET_EXPANSION
            stages.append(nn.SequentialCell(blocks))
        self.stages = nn.CellList(stages)

    def construct(self, x):
        x = self.pool(self.stem(x))
        maps = ()
        for stage in self.stages:
            x = stage(x)
            maps += (x,)
        return maps
