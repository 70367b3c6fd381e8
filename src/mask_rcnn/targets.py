"""Ground truth -> what the mask head's loss compares with: the object's bitmap inside each RoI (section 3, "Mask
Representation"), inside the compiled graph."""
from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, ops

BIT_OF_COLUMN = (128, 64, 32, 16, 8, 4, 2, 1)  # of a byte's eight pixels, from left to right


def mask_targets(bitmaps: Tensor, rois: Tensor, objects: Tensor, size: int) -> Tensor:
    """What a RoI shows of its object, (B, N, size, size) float32 of 0 and 1.

    bitmaps: (B, G, H, W / 8) uint8, a bit per pixel of the canvas, the leftmost of eight pixels in the highest bit.
    rois: (B, N, 4) x1, y1, x2, y2 in pixels of the network input. objects: (B, N) int32, the object of each RoI.

    As the zoo's CropAndResize ("bilinear_v2"): the pixels from x1 to x2 inclusive, fractions cut off, are divided
    into size x size cells, the middle of each is interpolated between its four pixels, and the result rounded.
    """
    _, count, height, row_bytes = bitmaps.shape
    batch = ops.arange(rois.shape[0]).astype(ms.int32).reshape(-1, 1)
    first_bytes = ((batch * count + objects) * height)[:, :, None, None]
    tops, bottoms, below = _pixels(rois[:, :, 1], rois[:, :, 3], height, size)
    lefts, rights, right = _pixels(rois[:, :, 0], rois[:, :, 2], row_bytes * 8, size)
    flat = bitmaps.reshape(-1)

    def bits(rows, columns):
        """The bits at rows (B, N, size) and columns (B, N, size) -> (B, N, size, size) float32."""
        columns = columns[:, :, None, :]
        byte_columns = columns // 8
        bit = ops.gather(Tensor(BIT_OF_COLUMN, ms.int32), columns - byte_columns * 8, 0)
        values = ops.gather(flat, (first_bytes + rows[:, :, :, None]) * row_bytes + byte_columns, 0)
        return (ops.bitwise_and(values.astype(ms.int32), bit) > 0).astype(ms.float32)

    right, below = right[:, :, None, :], below[:, :, :, None]
    upper = bits(tops, lefts) * (1 - right) + bits(tops, rights) * right
    lower = bits(bottoms, lefts) * (1 - right) + bits(bottoms, rights) * right
    return ops.round(upper * (1 - below) + lower * below)


def _pixels(start: Tensor, end: Tensor, limit: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels on either side of `size` points between start and end (B, N), and the fraction of the second one."""
    start, end = ops.floor(start)[:, :, None], ops.floor(end)[:, :, None]
    extent = ops.maximum(end - start + 1, 1.0)
    points = (ops.arange(size).astype(ms.float32) + 0.5) * (extent / size) - 0.5
    points = ops.minimum(ops.maximum(points, 0.0), extent - 1)
    first = ops.floor(points)

    def pixel(offset):
        return ops.clamp(start + offset, 0.0, limit - 1.0).astype(ms.int32)

    return pixel(first), pixel(ops.ceil(points)), points - first
