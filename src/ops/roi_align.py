"""RoIAlign (He et al. 2017, section 3) over the levels of a feature pyramid."""
from __future__ import annotations

import math
from typing import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from src.ops.cell_table import CellTable, image_of_each, level_layout

SAMPLES = 2  # per side of a bin
LONGEST = 56  # with dense sampling: longest side of a RoI, in cells, that has a sample for every cell


class PyramidRoIAlign(nn.Cell):
    """Extracts the features of each RoI from the level that suits its size (Lin et al. 2017, equation 1).

    Bilinear sampling is a weighted sum of rows of the maps, laid out as one (cells, C) table: a gather and a small
    matrix product. The result equals MindSpore's operator without half-pixel shift, which takes several times as long
    on a CPU.

    size: bins per side. strides: of the levels, finest first. finest_size: RoIs below twice this size, in pixels, use
    the finest level. end_offset: added to x2, y2 in pixels; 1 if boxes include their last pixel.
    least_cells: shortest side of a RoI, in cells; the built-in operator uses 1 if end_offset is 0, otherwise 0.
    dense: as in mmdetection, RoIs are shifted up and left by half a cell, and the number of samples of a bin is its
    length in cells, rounded up. RoIs longer than LONGEST have no more samples than at LONGEST, and each sample reads
    the nearest cell.
    construct: maps, tuple of (B, C, h, w), of which the first len(strides) are used, and rois (B, N, 4) in pixels
    -> (B * N, C, size, size). No gradient goes to the RoIs.
    """

    def __init__(self, size: int, strides: Sequence[int], finest_size: float, end_offset: int,
                 least_cells: float = 0.0, dense: bool = False):
        super().__init__()
        self.size = size
        self.dense = dense
        self.most_samples = math.ceil(LONGEST / size)
        self.strides = tuple(strides)
        self.least_areas = Tensor([0] + [(finest_size * 2 ** level) ** 2 for level in range(1, len(strides))],
                                  ms.float32)
        self.end_offset = end_offset
        self.least_cells = least_cells
        self.scales = Tensor(1 / np.array(strides), ms.float32)
        # Centre of every sample as a fraction of the RoI's side.
        self.samples = Tensor((np.arange(size * SAMPLES) + 0.5) / (size * SAMPLES), ms.float32)
        self.table = CellTable()
        self.weighted_sums = WeightedSums()

    def construct(self, maps, rois):
        batch, count, _ = rois.shape
        channels = maps[0].shape[1]
        rois = ops.stop_gradient(rois).reshape(-1, 4)
        level = self.levels(rois)
        first_cells, heights, widths = level_layout(batch, tuple(features.shape[2:] for features in maps))
        heights, widths = heights[level], widths[level]
        first_cell = first_cells[level] + image_of_each(batch, count) * heights * widths
        scale = self.scales[level]
        taps = self._dense_taps if self.dense else self._taps
        rows, row_weights = taps(rois[:, 1], rois[:, 3], scale, heights)
        columns, column_weights = taps(rois[:, 0], rois[:, 2], scale, widths)
        # (RoIs, bins, taps) of each direction -> (RoIs, bins down, bins across, taps down, taps across)
        cells = (first_cell[:, None, None] + rows * widths[:, None, None])[:, :, None, :, None] \
            + columns[:, None, :, None, :]
        weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
        bins = self.weighted_sums(self.table(maps), cells, weights)
        return ops.transpose(bins.reshape(-1, self.size * self.size, channels), (0, 2, 1)).reshape(
            -1, channels, self.size, self.size)

    def levels(self, rois: Tensor) -> Tensor:
        """(R, 4) -> (R,) int32, index of the level of each RoI."""
        sides = rois[:, 2:] - rois[:, :2] + 1
        areas = (sides[:, 0] * sides[:, 1]).expand_dims(-1)
        return (areas >= self.least_areas).astype(ms.int32).sum(-1).astype(ms.int32) - 1

    def _taps(self, low, high, scale, cells):
        """Cells and weights of the samples of one direction: (R, bins, 2 * SAMPLES) each; 0 outside the map."""
        start = low * scale
        length = ops.maximum((high + self.end_offset) * scale - start, self.least_cells)
        position = start[:, None] + length[:, None] * self.samples
        last = (cells - 1)[:, None]
        inside = ops.logical_and(position >= -1, position <= cells[:, None].astype(ms.float32)).astype(ms.float32)
        position = ops.minimum(ops.relu(position), last.astype(ms.float32))
        before = ops.floor(position)
        part = position - before
        before = before.astype(ms.int32)
        taps = ops.stack((before, ops.minimum(before + 1, last)), -1)
        weights = ops.stack(((1 - part) * inside, part * inside), -1) / SAMPLES
        shape = (-1, self.size, 2 * SAMPLES)
        return taps.reshape(shape), weights.reshape(shape)

    def _dense_taps(self, low, high, scale, cells):
        """Cells and weights like `_taps`, for a number of samples that depends on the RoI: (R, bins, most_samples + 1).

        Neighbouring samples are at most one cell apart, so n samples touch at most n + 1 cells.
        """
        most = self.most_samples
        bin_length = ((high + self.end_offset - low) * scale / self.size)[:, None, None]
        count = ops.clamp(-ops.floor(-bin_length), 1, most)  # rounded up; MindSpore cannot export Ceil
        number = ops.arange(most).astype(ms.float32)
        bins = ops.arange(self.size).astype(ms.float32)[:, None]
        position = (low * scale - 0.5)[:, None, None] + (bins + (number + 0.5) / count) * bin_length
        last = (cells - 1)[:, None, None]
        inside = ops.logical_and(position >= -1, position <= cells[:, None, None].astype(ms.float32))
        shares = ops.logical_and(inside, number < count).astype(ms.float32) / count
        position = ops.minimum(ops.relu(position), last.astype(ms.float32))
        taps = ops.floor(position[:, :, :1]) + ops.arange(most + 1).astype(ms.float32)
        distances = ops.abs(position.expand_dims(-1) - taps.expand_dims(2))
        weights = (ops.relu(1 - distances) * shares.expand_dims(-1)).sum(2)
        far_apart = bin_length > most
        nearest = ops.concat((ops.floor(position + 0.5), position[:, :, -1:]), -1)
        taps = ops.where(far_apart, nearest, taps)
        weights = ops.where(far_apart, ops.concat((shares, ops.zeros_like(shares[:, :, :1])), -1), weights)
        return ops.minimum(taps.astype(ms.int32), last), weights


class WeightedSums(nn.Cell):
    """Weighted sums of rows of a table: (table (cells, C), indices of rows (R, h, w, taps, taps), their weights) ->
    (R * h * w, 1, C).

    Rows of taps are gathered one after the other, forward and backward, because all of them together are many times as
    large as the result. No gradient goes to the weights.
    """

    def construct(self, table, cells, weights):
        taps, sums = cells.shape[3], 0
        for row in range(taps):
            after = ops.depend(table, sums) if self.training and row else table
            features = ops.gather(after, cells[:, :, :, row].reshape(-1), 0).reshape(-1, taps, table.shape[1])
            sums = sums + ops.bmm(weights[:, :, :, row].reshape(-1, 1, taps), features)
        return sums

    def bprop(self, table, cells, weights, _, dout):
        (count, channels), taps = table.shape, cells.shape[3]
        sums = ops.zeros_like(table)
        for row in range(taps):
            after = ops.depend(dout, sums)
            features = ops.bmm(weights[:, :, :, row].reshape(-1, taps, 1), after).reshape(-1, channels)
            sums = sums + ops.unsorted_segment_sum(features, cells[:, :, :, row].reshape(-1), count)
        return sums, ops.zeros_like(cells), ops.zeros_like(weights)
