"""Non-maximum suppression inside compiled graphs."""
from __future__ import annotations

from mindspore import Tensor, ops


def nms(boxes: Tensor, scores: Tensor, threshold: float, end_offset: int = 0) -> Tensor:
    """(N,) bool: which of the boxes (N, 4), sorted by falling scores (N,), greedy suppression keeps.

    A box is dropped when its overlap with a kept better one is above the threshold. end_offset: what is added to x2, y2
    before overlaps are taken; 1 makes boxes that include their last pixel whole, the zoo adds nothing.
    """
    if end_offset:
        boxes = boxes + Tensor([0, 0, end_offset, end_offset], boxes.dtype)
    _, _, kept = ops.NMSWithMask(threshold)(ops.concat((boxes, scores.expand_dims(-1)), -1))
    return kept


def classwise_nms(boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, threshold: float,
                  image_size: tuple, end_offset: int = 0) -> Tensor:
    """(N,) bool: suppression among boxes of one class, all classes at once.

    Every class gets a place of its own, further from the others than any box reaches. The places form a square
    around the origin: the smaller the shift, the less it rounds the corners (below 0.0005 pixels for 80 classes).
    """
    across = int(num_classes ** 0.5 + 0.999)
    row = ops.floor_divide(classes, across)
    column = classes - row * across
    middle, (height, width) = (across - 1) / 2, image_size
    shift_y = (row.astype(boxes.dtype) - middle) * (2 * height)
    shift_x = (column.astype(boxes.dtype) - middle) * (2 * width)
    return nms(boxes + ops.stack((shift_x, shift_y, shift_x, shift_y), -1), scores, threshold, end_offset)


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """(B, N, C) and (B, K) -> (B, K, C): the rows of each image at its indices."""
    batch, count, width = rows.shape
    first = (ops.arange(batch) * count).astype(index.dtype).expand_dims(-1)
    return ops.gather(rows.reshape(-1, width), (index + first).reshape(-1), 0).reshape(batch, -1, width)
