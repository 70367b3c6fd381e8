"""The mask branch of Mask R-CNN (section 3, "Network Architecture", figure 4 right)."""
from __future__ import annotations

import math

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import XavierNormal, initializer

from src.ops.conv2d import Conv2d

CONVS = 4


class MaskHead(nn.Cell):
    """Four 3x3 convolutions, up-sampling by two, and a logit per class and cell.

    classes: maps per RoI; the zoo has one for the background, too, which is never used.
    construct: RoI features (N, C, s, s) -> (N, classes, 2 s, 2 s).
    """

    def __init__(self, in_channels: int, channels: int, classes: int):
        super().__init__()
        self.convs = nn.CellList([_conv(in_channels if index == 0 else channels, channels, 3, math.sqrt(2))
                                  for index in range(CONVS)])
        self.upscale = DoubleSize(channels, channels)
        self.logits = _conv(channels, classes, 1, 2)

    def construct(self, features: Tensor) -> Tensor:
        for conv in self.convs:
            features = ops.relu(conv(features))
        count, _, height, width = features.shape
        cells = self.logits(ops.relu(self.upscale(features))).reshape(count, 2, 2, -1, height, width)
        return cells.transpose(0, 3, 4, 1, 5, 2).reshape(count, -1, 2 * height, 2 * width)


class DoubleSize(nn.Cell):
    """A transposed 2x2 convolution of stride 2, its outputs not yet in place: (N, C, h, w) -> (N * 2 * 2, D, h, w), a
    map for each of the 2x2 cells that a cell becomes.

    No two outputs overlap, so it is a 1x1 convolution to four times the channels. In this form it exports to ONNX;
    MindSpore's own operator does not. The caller puts the cells in place, after it has made fewer channels of them:
    transposing is slow on a CPU. weight: (C, D, 2, 2), as the operator has it.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = Parameter(initializer(XavierNormal(math.sqrt(2)), (in_channels, out_channels, 2, 2), ms.float32))
        self.bias = Parameter(initializer("zeros", (out_channels,), ms.float32))
        self.channels = in_channels, out_channels

    def construct(self, x: Tensor) -> Tensor:
        in_channels, out_channels = self.channels
        kernel = self.weight.transpose(2, 3, 1, 0).reshape(4 * out_channels, in_channels, 1, 1)
        cells = ops.conv2d(x, kernel.astype(x.dtype)).reshape(-1, out_channels, *x.shape[2:])
        return cells + self.bias.astype(x.dtype).reshape(1, -1, 1, 1)


def _conv(in_channels: int, out_channels: int, kernel_size: int, gain: float) -> Conv2d:
    return Conv2d(in_channels, out_channels, kernel_size, has_bias=True, weight_init=XavierNormal(gain),
                  bias_init="zeros")
