"""The heads of SSD: feature maps -> predictions for every prior."""
from __future__ import annotations

from typing import Sequence

from mindspore import Tensor, nn, ops

from src.ops.conv2d import Conv2d


class SeparablePredictor(nn.Cell):
    """SSDLite head of one map: depthwise 3x3, norm, ReLU6, 1x1 with bias (MobileNetV2, section 6.2).

    construct: (B, C, H, W) -> (B, H*W*boxes, outputs)
    """

    def __init__(self, channels: int, boxes: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.depthwise = Conv2d(channels, channels, 3, pad_mode="same", group=channels)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.97)
        self.activation = nn.ReLU6()
        self.pointwise = nn.Conv2d(channels, boxes * outputs, 1, has_bias=True)

    def construct(self, x):
        return _rows(self.pointwise(self.activation(self.norm(self.depthwise(x)))), self.outputs)

    @property
    def output_layer(self) -> nn.Conv2d:
        return self.pointwise


class PlainPredictor(nn.Cell):
    """The paper's head of one map: a 3x3 convolution. construct: (B, C, H, W) -> (B, H*W*boxes, outputs)."""

    def __init__(self, channels: int, boxes: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.output_layer = Conv2d(channels, boxes * outputs, 3, has_bias=True)

    def construct(self, x):
        return _rows(self.output_layer(x), self.outputs)


class PredictorPerMap(nn.SequentialCell):
    """A separate head of the class `predictor` for every map.

    construct: maps (B, C, h, w) -> (B, N, outputs), N priors of all maps.
    """

    def __init__(self, channels: Sequence[int], boxes_per_cell: Sequence[int], outputs: int,
                 predictor: type = SeparablePredictor):
        super().__init__([predictor(depth, boxes, outputs) for depth, boxes in zip(channels, boxes_per_cell)])

    def construct(self, maps):
        rows = ()
        for level, predictor in enumerate(self.cell_list):
            rows += (predictor(maps[level]),)
        return ops.concat(rows, 1)

    @property
    def output_layers(self) -> list:
        return [predictor.output_layer for predictor in self.cell_list]


class SharedPredictor(nn.Cell):
    """RetinaNet's head (Lin et al. 2017, section 4): 3x3 convolutions shared by all maps, separate norms.

    As in the zoo the shared convolutions have a bias although a norm follows.
    construct: maps (B, C, h, w) -> (B, N, outputs), N priors of all maps.
    """

    def __init__(self, levels: int, channels: int, depth: int, boxes: int, outputs: int):
        super().__init__()
        self.outputs = outputs
        self.convs = nn.CellList([Conv2d(channels, channels, 3, has_bias=True) for _ in range(depth)])
        self.norms = nn.CellList([
            nn.CellList([nn.BatchNorm2d(channels, eps=1e-3, momentum=0.97) for _ in range(depth)])
            for _ in range(levels)])
        self.activation = nn.ReLU6()
        self.output = Conv2d(channels, boxes * outputs, 3, has_bias=True)

    def construct(self, maps):
        rows = ()
        for level, x in enumerate(maps):
            for conv, norm in zip(self.convs, self.norms[level]):
                x = self.activation(norm(conv(x)))
            rows += (_rows(self.output(x), self.outputs),)
        return ops.concat(rows, 1)

    @property
    def output_layers(self) -> list:
        return [self.output]


def _rows(x: Tensor, outputs: int) -> Tensor:
    """(B, boxes*outputs, H, W) -> (B, H*W*boxes, outputs)."""
    return ops.transpose(x, (0, 2, 3, 1)).reshape(x.shape[0], -1, outputs)
