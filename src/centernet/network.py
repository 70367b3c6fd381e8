"""CenterNet (Zhou et al. 2019, "Objects as Points", https://arxiv.org/abs/1904.07850): image -> maps of centres,
sizes and offsets, and their best detections."""
from __future__ import annotations

import math

import numpy as np
from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from src.ops.conv2d import Conv2d
from src.ops.deform_conv import DeformConv

UP_CHANNELS = (256, 128, 64)
INITIAL_SCORE = 0.1  # of every class in every cell (Lin et al. 2017, section 4.1)


class UpSampling(nn.Cell):
    """Doubles the size with a transposed 4x4 convolution of stride 2, norm and ReLU.

    deformable: a deformable convolution with norm and ReLU stands before it, and it starts as bilinear interpolation
    (section 4, "ResNet"); without, it brings the channels down itself, as in the zoo.
    construct: (B, in_channels, H, W) -> (B, out_channels, 2H, 2W).
    """

    def __init__(self, in_channels: int, out_channels: int, deformable: bool):
        super().__init__()
        self.adapt = DeformConvNorm(in_channels, out_channels) if deformable else None
        self.up = nn.Conv2dTranspose(out_channels if deformable else in_channels, out_channels, 4, stride=2,
                                     pad_mode="pad", padding=1)
        if deformable:
            self.up.weight.set_data(Tensor(bilinear_up_weights(out_channels)))
        self.norm = nn.BatchNorm2d(out_channels)

    def construct(self, x):
        if self.adapt is not None:
            x = self.adapt(x)
        return ops.relu(self.norm(self.up(x)))


class DeformConvNorm(nn.Cell):
    """Deformable convolution, norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = DeformConv(in_channels, out_channels)
        self.norm = nn.BatchNorm2d(out_channels)

    def construct(self, x):
        return ops.relu(self.norm(self.conv(x)))


def bilinear_up_weights(channels: int) -> np.ndarray:
    """(channels, channels, 4, 4): each channel is interpolated to twice its size by itself."""
    line = np.array([0.25, 0.75, 0.75, 0.25], np.float32)
    return np.eye(channels, dtype=np.float32)[:, :, None, None] * np.outer(line, line)


class Head(nn.Cell):
    """3x3 convolution, ReLU, 1x1 convolution.

    construct: (B, in_channels, H, W) -> (B, outputs, H, W).
    """

    def __init__(self, in_channels: int, hidden: int, outputs: int):
        super().__init__()
        self.conv = Conv2d(in_channels, hidden, 3, pad_mode="pad", padding=1, has_bias=True)
        self.output = nn.Conv2d(hidden, outputs, 1, has_bias=True)

    def construct(self, x):
        return self.output(ops.relu(self.conv(x)))


class CenterNet(nn.Cell):
    """Backbone, three up-sampling stages to stride 4, and heads for heat map, sizes and offsets (section 3).

    construct: (B, 3, H, W) normalised BGR -> logits (B, classes, H/4, W/4), sizes (B, 2, H/4, W/4) w, h in cells,
    offsets (B, 2, H/4, W/4) dx, dy of the centre from the cell's corner.
    """

    def __init__(self, backbone: nn.Cell, in_channels: int, num_classes: int, head_channels: int, deformable: bool):
        super().__init__()
        self.backbone = backbone
        channels = (in_channels, *UP_CHANNELS)
        self.stages = nn.SequentialCell([UpSampling(*pair, deformable) for pair in zip(channels, channels[1:])])
        self.heatmap = Head(channels[-1], head_channels, num_classes)
        self.size = Head(channels[-1], head_channels, 2)
        self.offset = Head(channels[-1], head_channels, 2)
        bias = self.heatmap.output.bias
        bias.set_data(Tensor(np.full(bias.shape, math.log(INITIAL_SCORE / (1 - INITIAL_SCORE)), np.float32)))

    def construct(self, images):
        features = self.stages(self.backbone(images)[-1])
        return self.heatmap(features), self.size(features), self.offset(features)


class CenterNetInference(nn.Cell):
    """The exported network: the best peaks of the heat map as boxes (section 3, "From points to bounding boxes").

    count: detections per image. peak_tolerance: a cell is a peak if no neighbour is higher by more than this fraction.
    flip_test: average the maps of the image and of its mirror image; offsets are the image's own.
    construct: (B, 3, H, W) -> (B, count, 6): x1, y1, x2, y2 in cells of the maps, score, class.
    """

    def __init__(self, network: CenterNet, count: int, peak_tolerance: float, flip_test: bool = False):
        super().__init__(auto_prefix=False)  # parameters keep the network's names
        self.network = network
        self.count = count
        self.peak_tolerance = peak_tolerance
        self.flip_test = flip_test
        self.pool = nn.MaxPool2d(3, 1, pad_mode="same")

    def construct(self, images):
        logits, sizes, offsets = self.network(images)
        heat = ops.sigmoid(logits)
        if self.flip_test:
            mirrored_logits, mirrored_sizes, _ = self.network(_mirror(images))
            heat = (heat + _mirror(ops.sigmoid(mirrored_logits))) / 2
            sizes = (sizes + _mirror(mirrored_sizes)) / 2
        return self.best_peaks(heat, sizes, offsets)

    def best_peaks(self, heat, sizes, offsets):
        """heat (B, C, H, W) in 0..1, sizes and offsets (B, 2, H, W) -> (B, count, 6) float32."""
        heat, sizes, offsets = (heat.astype(mstype.float32), sizes.astype(mstype.float32),
                                offsets.astype(mstype.float32))  # half precision ends at cell 2048
        batch, classes, height, width = heat.shape
        per_class = min(self.count, height * width)
        is_peak = self.pool(heat) - heat <= heat * self.peak_tolerance
        peaks = (heat * is_peak.astype(heat.dtype)).reshape((batch, classes, height * width))
        scores, cells = ops.topk(peaks, per_class)
        scores, ranks = ops.topk(scores.reshape((batch, -1)), min(self.count, classes * per_class))
        labels = ranks // per_class
        cells = ops.gather_elements(cells.reshape((batch, -1)), 1, ranks.astype(mstype.int32))
        size, offset = values_at(sizes, cells), values_at(offsets, cells)
        rows = cells // width
        centers = ops.stack((cells - rows * width, rows), 1).astype(heat.dtype) + offset
        corners = ops.concat((centers - size / 2, centers + size / 2), 1)
        labels = labels.astype(heat.dtype).expand_dims(1)
        return ops.transpose(ops.concat((corners, scores.expand_dims(1), labels), 1), (0, 2, 1))


def values_at(maps: Tensor, cells: Tensor) -> Tensor:
    """Values of maps (B, 2, H, W) at cells (B, N), counted row by row -> (B, 2, N)."""
    index = ops.stack((cells, cells), 1)
    return ops.gather_elements(maps.reshape((maps.shape[0], 2, -1)), 2, index)


def _mirror(maps: Tensor) -> Tensor:
    """(B, C, H, W) with its columns in reverse; a gather, because the reversal has no form in ONNX."""
    return ops.gather(maps, Tensor(np.arange(maps.shape[3])[::-1].copy(), mstype.int32), 3)


def build_centernet(model, num_classes: int) -> CenterNet:
    """The network that the `model` section describes, randomly initialised."""
    backbone = model.backbone.build(symmetric=True, symmetric_pool=model.pools_every_side, eps=1e-5, momentum=0.9)
    return CenterNet(backbone, model.backbone.channels[-1], num_classes, model.head_conv,
                     model.up_sampling == "deformable")
