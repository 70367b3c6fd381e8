"""Feature pyramid network (Lin et al. 2016, https://arxiv.org/abs/1612.03144)."""
from __future__ import annotations

from typing import Callable, Sequence

from mindspore import nn

from src.ops.resize import resize_bilinear


class FPN(nn.Cell):
    """Turns the maps of a backbone, finest first, into maps of equal depth with top-down connections (section 3).

    in_channels: of the maps; if a backbone returns more, the last ones are used. output: makes the 3x3 layer of one
    level. upsample: (map, size of the finer one) -> map of that size.
    construct: maps (B, C, h, w) -> tuple of (B, out_channels, h, w).
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, output: Callable[[], nn.Cell],
                 upsample: Callable = resize_bilinear):
        super().__init__()
        self.laterals = nn.CellList([nn.Conv2d(channels, out_channels, 1, has_bias=True) for channels in in_channels])
        self.outputs = nn.CellList([output() for _ in in_channels])
        self.upsample = upsample

    def construct(self, maps):
        maps = maps[-len(self.laterals):]
        above = self.laterals[-1](maps[-1])
        outputs = (self.outputs[-1](above),)
        for level in range(len(maps) - 2, -1, -1):
            above = self.laterals[level](maps[level]) + self.upsample(above, maps[level].shape[2:])
            outputs = (self.outputs[level](above),) + outputs
        return outputs
