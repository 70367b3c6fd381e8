"""Region proposal network (Ren et al. 2015, section 3.1): objectness and box deltas of every anchor."""
from __future__ import annotations

from mindspore import nn, ops
from mindspore.common.initializer import Normal

KERNEL = 3


class RPNHead(nn.Cell):
    """A 3x3 convolution and two 1x1 convolutions that all levels share.

    construct: levels, tuple of (B, C, h, w) -> per level objectness logits (B, h*w*A) and deltas (B, h*w*A, 4), in
    the order of `pyramid_anchors`.
    """

    def __init__(self, channels: int, anchors_per_cell: int):
        super().__init__()
        self.conv = _convolution(channels, channels, KERNEL)
        self.activation = nn.ReLU()
        self.objectness = _convolution(channels, anchors_per_cell, 1)
        self.deltas = _convolution(channels, anchors_per_cell * 4, 1)
        self.anchors_per_cell = anchors_per_cell

    def construct(self, levels):
        objectness, deltas = (), ()
        for features in levels:
            features = self.activation(self.conv(features))
            batch = features.shape[0]
            objectness += (ops.transpose(self.objectness(features), (0, 2, 3, 1)).reshape(batch, -1),)
            deltas += (ops.transpose(self.deltas(features), (0, 2, 3, 1)).reshape(batch, -1, 4),)
        return objectness, deltas


def _convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size, has_bias=True, weight_init=Normal(0.01),
                     bias_init="zeros")
