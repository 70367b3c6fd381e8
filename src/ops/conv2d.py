"""Convolutions whose gradients need little memory or time on a CPU."""
from __future__ import annotations

from typing import Optional

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.ops.operations import _grad_ops

from src.ops import native
from src.ops.native.depthwise import NativeDepthwise

STRIP_ROWS = 8


class Conv2d(nn.Conv2d):
    """nn.Conv2d. On a CPU, depthwise 3x3 convolutions are native where native operators are in use. Of the others, 3x3
    convolutions of stride 1 compute gradients with LeanConvolution, depthwise ones with DepthwiseConvolution.

    `convolution` is construct without the bias and with the caller's weights: (x, weight).
    """

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        if native.in_use() and self._is_native_depthwise():
            self.convolution = NativeDepthwise(self.stride[0], self._padding())
            return
        same_size = self.pad_mode == "same" or self.pad_mode == "pad" and set(self.conv2d.pad) == {1}
        dense = self.stride == self.dilation == (1, 1) and ms.get_context("device_target") == "CPU"
        height, width = self.kernel_size
        self.convolution = self.conv2d
        if dense and same_size and self.group == 1 and height == width == 3:
            self.convolution = LeanConvolution(self.conv2d, self.out_channels)
        elif (dense and self.pad_mode == "same" and self.group == self.in_channels == self.out_channels
              and height == width and height % 2):
            self.convolution = DepthwiseConvolution(self.conv2d, self.out_channels, height)

    def construct(self, x):
        output = self.convolution(x, self.weight)
        return self.bias_add(output, self.bias) if self.has_bias else output

    def _is_native_depthwise(self) -> bool:
        return (self.group == self.in_channels == self.out_channels and self.kernel_size == (3, 3)
                and self.stride in ((1, 1), (2, 2)) and self.dilation == (1, 1)
                and (self.pad_mode == "same" or self.pad_mode == "pad" and len(set(self.conv2d.pad)) == 1))

    def _padding(self) -> Optional[int]:
        """Cells of padding on every side; None for "same"."""
        return None if self.pad_mode == "same" else int(self.conv2d.pad[0])


class LeanConvolution(nn.Cell):
    """3x3, stride 1, output as large as the input: (x (B, C, H, W), weight (D, C, 3, 3)) -> (B, D, H, W).

    MindSpore's CPU kernels of the two gradients each keep nine maps of the whole input for every layer, over 4 GB in a
    Faster R-CNN at 768x1280, and never free them. Here the gradient of the input is computed as a convolution, which
    keeps little. The gradient of the weight is computed from strips of the input, as if they were a batch, so that the
    nine maps are only as large as one strip.
    """

    def __init__(self, convolve: ops.Conv2D, out_channels: int):
        super().__init__()
        self.convolve = convolve  # the operator of nn.Conv2d, which can be exported
        settings = {"pad_mode": "pad", "stride": (1, 1), "dilation": (1, 1, 1, 1)}
        self.weight_gradient = _grad_ops.Conv2DBackpropFilter(
            out_channels, (3, 3), pad=(1, 1, 1, 1), pad_list=(1, 1, 1, 1), **settings)
        self.weight_gradient_of_strips = _grad_ops.Conv2DBackpropFilter(
            out_channels, (3, 3), pad=(0, 0, 1, 1), pad_list=(0, 0, 1, 1), **settings)

    def construct(self, x, weight):
        return self.convolve(x, weight)

    def bprop(self, x, weight, _, dout):
        dx = ops.Conv2D(x.shape[1], 3, pad_mode="pad", pad=1)(dout, _mirrored(weight))
        if _strip_rows(x.shape[2]) == x.shape[2]:
            return dx, self.weight_gradient(dout, x, weight.shape)
        x = ops.depend(x, dout)  # otherwise the strips are made during the forward pass, and kept
        return dx, self.weight_gradient_of_strips(_strips(dout, 0), _strips(x, 1), weight.shape)


class DepthwiseConvolution(nn.Cell):
    """K x K, K odd, stride 1, output as large as the input: (x (B, C, H, W), weight (C, 1, K, K)) -> (B, C, H, W).

    MindSpore's CPU kernel for the gradient of the input takes three times as long as the convolution (144 channels,
    75 x 75, batch 8: 72 ms and 22 ms). That gradient is itself a depthwise convolution, of the output's gradient with
    the kernel rotated by 180 degrees. A training step of SSD300-MobileNetV2, batch 8, falls from 1.18 to 1.01 s.
    """

    def __init__(self, convolve: ops.Conv2D, channels: int, side: int):
        super().__init__()
        self.convolve = convolve  # nn.Conv2d's own, which exports
        pads = (side // 2,) * 4
        settings = {"pad_mode": "pad", "pad": pads, "group": channels}
        self.input_gradient = ops.Conv2D(channels, side, **settings)
        self.weight_gradient = _grad_ops.Conv2DBackpropFilter(channels, side, pad_list=pads, **settings)
        self.turn_round = ops.ReverseV2([2, 3])

    def construct(self, x, weight):
        return self.convolve(x, weight)

    def bprop(self, x, weight, _, dout):
        return self.input_gradient(dout, self.turn_round(weight)), self.weight_gradient(dout, x, weight.shape)


def _mirrored(weight: Tensor) -> Tensor:
    """(D, C, 3, 3) -> (C, D, 3, 3) with both axes of the kernels reversed. Gathers rows and multiplies by a
    permutation, because transposing and reversing take ten times as long on a CPU."""
    outputs, inputs = weight.shape[:2]
    order, reverse = _mirroring(outputs, inputs)
    kernels = ops.gather(weight.reshape(outputs * inputs, 9), order, 0)
    return ops.MatMul()(kernels, reverse).reshape(inputs, outputs, 3, 3)


def _strips(maps: Tensor, more: int) -> Tensor:
    """(B, C, H, W) -> (B * strips, C, rows + 2 more, W): `more` rows are added above and below; beyond the edges of the
    map they are zeros."""
    _, channels, height, width = maps.shape
    rows = ops.concat((maps.reshape(-1, width), ops.zeros((1, width), maps.dtype)), 0)
    # Gathered, because transposing keeps an index of eight bytes per number.
    numbers = _strip_numbers(maps.shape[:3], more)
    return ops.gather(rows, numbers, 0).reshape(-1, channels, _strip_rows(height) + 2 * more, width)


def _rows(height: int) -> int:
    """Rows of a strip: at most STRIP_ROWS, so that the last strip reaches as little as possible beyond the map."""
    return -(-height // -(-height // STRIP_ROWS))


_strip_rows = ops.constexpr(_rows)


@ops.constexpr
def _mirroring(outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The order of the kernels with inputs first, (outputs * inputs,), and the matrix that reverses nine cells."""
    order = np.arange(outputs * inputs).reshape(outputs, inputs).T.ravel()
    return Tensor(order, ms.int32), Tensor(np.eye(9)[::-1], ms.float32)


@ops.constexpr
def _strip_numbers(shape: tuple, more: int) -> Tensor:
    """Indices of the rows of all strips, (B, strips, C, rows + 2 more), flat, in maps of shape (B, C, H); the index
    after the last row stands for a row of zeros."""
    batch, channels, height = shape
    size = _rows(height)
    row = np.arange(0, height, size)[:, None] + np.arange(-more, size + more)
    first = np.arange(batch * channels).reshape(batch, 1, channels, 1) * height
    inside = (row >= 0) & (row < height)
    numbers = np.where(inside[:, None], first + row[:, None], batch * channels * height)
    return Tensor(numbers.ravel(), ms.int32)
