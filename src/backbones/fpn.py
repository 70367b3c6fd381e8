"""Feature pyramid network (Lin et al. 2016, https://arxiv.org/abs/1612.03144)."""
from __future__ import annotations

from typing import Sequence

from mindspore import nn

from src.backbones.layers import ConvNorm
from src.ops.resize import resize_bilinear


class FPN(nn.Cell):
    """Maps of a body, finest first, to as many maps of equal depth that know what the coarser ones saw (section 3).

    As in the zoo's SSD: bilinear up-sampling to the size of the finer map, and norm and ReLU6 after the 3x3
    convolutions. in_channels: of the maps; where a body returns more, the last ones are taken.
    construct: maps (B, C, h, w) -> tuple of (B, out_channels, h, w).
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int):
        super().__init__()
        self.laterals = nn.CellList([nn.Conv2d(channels, out_channels, 1, has_bias=True) for channels in in_channels])
        self.outputs = nn.CellList([ConvNorm(out_channels, out_channels, 3, activation=nn.ReLU6(), eps=1e-5,
                                             momentum=0.9) for _ in in_channels])

    def construct(self, maps):
        maps = maps[-len(self.laterals):]
        above = self.laterals[-1](maps[-1])
        outputs = (self.outputs[-1](above),)
        for level in range(len(maps) - 2, -1, -1):
            above = self.laterals[level](maps[level]) + resize_bilinear(above, maps[level].shape[2:])
            outputs = (self.outputs[level](above),) + outputs
        return outputs
