"""VGG16 (Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556), modified for SSD (Liu et al. 2016, section 3)."""
from __future__ import annotations

from typing import Optional

import mindspore as ms
from mindspore import Parameter, nn, ops
from mindspore.common.initializer import initializer

from src.backbones.depths import VGG16_BLOCKS, VGG16_FC_CHANNELS
from src.ops.conv2d import Conv2d


class ConvReLU(nn.Cell):
    """Convolution, an optional batch norm, an optional ReLU; padded to keep the size unless stated."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, dilation: int = 1,
                 padding: Optional[int] = None, batch_norm: bool = False, bias: bool = False,
                 relu: bool = True):
        super().__init__()
        # Not pad_mode "same": onnxruntime refuses it together with a dilation.
        padding = dilation * (kernel_size // 2) if padding is None else padding
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, pad_mode="pad", padding=padding,
                           dilation=dilation, has_bias=bias)
        self.norm = nn.BatchNorm2d(out_channels) if batch_norm else None
        self.relu = nn.ReLU() if relu else None

    def construct(self, x):
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.relu is None else self.relu(x)


class LearnedLength(nn.Cell):
    """Scales the channels of every cell to length 1, then multiplies each channel by a learned factor (ParseNet, Liu et
    al. 2015, section 3.3) with the initial value 20 (Liu et al. 2016, section 3.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.factors = Parameter(initializer(20, (channels,), ms.float32))

    def construct(self, x):
        length = ops.sqrt((x * x).sum(1, keepdims=True))
        return x / ops.maximum(length, 1e-12) * self.factors.reshape(1, -1, 1, 1).astype(x.dtype)


class VGG16(nn.Cell):
    """Returns conv4_3 and fc7. The fully connected layers are convolutions, fc6 with dilation 6.

    batch_norm, bias: of the thirteen convolutions of the blocks. fc_relu: ReLU after fc6 and fc7; the zoo's SSD has
    none. as_in_paper: fc6 and fc7 have biases, and conv4_3 goes through LearnedLength; the zoo has neither.
    construct: (B, 3, H, W) -> (B, 512, H/8, W/8), (B, 1024, H/16, W/16), sides rounded up. While training it also takes
    the dropout of fc6 and fc7, (B, 2, 1024, H/16, W/16) factors: 0 drops a value, 1 / (1 - p) keeps it. Factors that
    are inputs can be repeated; the state of MindSpore's dropout cannot be saved, so no run could be resumed exactly.
    """

    def __init__(self, batch_norm: bool = False, bias: bool = False, fc_relu: bool = True,
                 as_in_paper: bool = False):
        super().__init__()
        blocks, channels = [], 3
        for count, out_channels in VGG16_BLOCKS:
            block = []
            for _ in range(count):
                block.append(ConvReLU(channels, out_channels, 3, batch_norm=batch_norm, bias=bias))
                channels = out_channels
            blocks.append(nn.SequentialCell(block))
        self.blocks = nn.CellList(blocks)
        self.halve = nn.MaxPool2d(2, 2, pad_mode="same")
        self.pool5 = nn.MaxPool2d(3, 1, pad_mode="same")
        self.fc6 = ConvReLU(channels, VGG16_FC_CHANNELS, 3, dilation=6, bias=as_in_paper, relu=fc_relu)
        self.fc7 = ConvReLU(VGG16_FC_CHANNELS, VGG16_FC_CHANNELS, 1, bias=as_in_paper, relu=fc_relu)
        self.rescale4 = LearnedLength(channels) if as_in_paper else None

    def construct(self, x, dropout=None):
        maps = ()
        for block in self.blocks:
            x = block(x)
            maps += (x,)
            x = self.halve(x)
        conv4_3, conv5_3 = maps[-2:]
        if self.rescale4 is not None:
            conv4_3 = self.rescale4(conv4_3)
        x = self.fc6(self.pool5(conv5_3))
        if dropout is None:
            return conv4_3, self.fc7(x)
        factors = dropout.astype(x.dtype)
        return conv4_3, self.fc7(x * factors[:, 0]) * factors[:, 1]
