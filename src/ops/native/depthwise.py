"""Depthwise 3x3 convolutions with strides 1 and 2, computed by the native operators."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from src.ops import native
from src.ops.native.padding import output_side, padding_of

SIDE = 3


class NativeDepthwise(nn.Cell):
    """(x (B, C, H, W), weight (C, 1, 3, 3)) -> (B, C, H', W'), float32.

    padding: rows and columns of zeros on every side; None = "same", as nn.Conv2d pads.
    """

    def __init__(self, stride: int, padding: int | None):
        super().__init__()
        self.stride, self.padding = stride, padding
        self.forward = native.operator("DepthwiseForward", self.output_shape, lambda x, _weight, _settings: x,
                                       stride=stride, padding=padding)
        self.gradients = native.operator("DepthwiseGradients", lambda _dout, x, weight, _settings: (x, weight),
                                         lambda _dout, x, weight, _settings: (x, weight))

    def output_shape(self, x: list, _weight: list, _settings: list) -> list:
        return [*x[:2], *(output_side(side, SIDE, self.stride, self.padding) for side in x[2:])]

    def construct(self, x, weight):
        return self.forward(x, weight, _settings(x.shape, self.stride, self.padding))

    def bprop(self, x, weight, _, dout):
        return self.gradients(dout, x, weight, _settings(x.shape, self.stride, self.padding))


@ops.constexpr
def _settings(shape: tuple, stride: int, padding: int | None) -> Tensor:
    """Stride, padding above and left."""
    return Tensor([stride, *(padding_of(side, SIDE, stride, padding)[0] for side in shape[2:])], ms.int32)
