"""Non-maximum suppression inside compiled graphs."""
from __future__ import annotations

from mindspore import Tensor, ops


def nms(boxes: Tensor, scores: Tensor, threshold: float, end_offset: int = 0) -> Tensor:
    """(N,) bool: whether greedy suppression keeps each box; boxes (N, 4) are sorted by descending scores (N,).

    A box is dropped if its IoU with a kept box before it is above the threshold. end_offset: added to x2 and y2 for the
    IoU; 1 suits boxes that include their last pixel, the zoo adds 0.
    """
    if end_offset:
        boxes = boxes + Tensor([0, 0, end_offset, end_offset], boxes.dtype)
    _, _, kept = ops.NMSWithMask(threshold)(ops.concat((boxes, scores.expand_dims(-1)), -1))
    return kept


def classwise_nms(boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, threshold: float,
                  image_size: tuple, end_offset: int = 0) -> Tensor:
    """(N,) bool: whether suppression within each class keeps the box, for all classes at once.

    The boxes of each class are shifted to a place of their own, further from the others than any box reaches. The
    places form a square around the origin, so that shifts are small and round the corners little (below 0.0005 pixels
    for 80 classes).
    """
    across = int(num_classes ** 0.5 + 0.999)
    row = ops.floor_divide(classes, across)
    column = classes - row * across
    middle, (height, width) = (across - 1) / 2, image_size
    shift_y = (row.astype(boxes.dtype) - middle) * (2 * height)
    shift_x = (column.astype(boxes.dtype) - middle) * (2 * width)
    return nms(boxes + ops.stack((shift_x, shift_y, shift_x, shift_y), -1), scores, threshold, end_offset)


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """(B, N, C) and (B, K) -> (B, K, C): gather the rows of each image at its indices."""
    batch, count, width = rows.shape
    first = (ops.arange(batch) * count).astype(index.dtype).expand_dims(-1)
    return ops.gather(rows.reshape(-1, width), (index + first).reshape(-1), 0).reshape(batch, -1, width)
