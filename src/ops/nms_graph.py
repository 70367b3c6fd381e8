"""Non-maximum suppression inside compiled graphs."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops

ROUNDS = 20  # of suppression by a matrix: twice what up to 2,000 crowded boxes took (tests/ops/test_nms_graph.py)


def nms(boxes: Tensor, scores: Tensor, threshold: float, end_offset: int = 0, by_matrix: bool = False) -> Tensor:
    """(B, N) bool: whether greedy suppression keeps each box; boxes (B, N, 4) are sorted by descending scores (B, N).

    A box is dropped if its IoU with a kept box before it is above the threshold. end_offset: added to x2 and y2 for the
    IoU; 1 suits boxes that include their last pixel, the zoo adds 0. by_matrix: see `kept_by_matrix`.
    """
    if end_offset:
        boxes = boxes + Tensor([0, 0, end_offset, end_offset], boxes.dtype)
    if by_matrix:
        return kept_by_matrix(pairwise_iou(boxes) > threshold)
    rows, kept = ops.concat((boxes, scores.expand_dims(-1)), -1), ()
    for image in range(boxes.shape[0]):
        # In a tuple: a list cannot be exported to ONNX.
        kept += (ops.NMSWithMask(threshold)(rows[image])[2],)  # type: ignore[assignment]
    return ops.stack(kept)


def classwise_nms(boxes: Tensor, scores: Tensor, classes: Tensor, num_classes: int, threshold: float,
                  image_size: tuple, end_offset: int = 0, by_matrix: bool = False) -> Tensor:
    """(B, N) bool: whether suppression within each class (B, N) keeps the box, for all classes at once.

    The boxes of each class are shifted to a place of their own, further from the others than any box reaches. The
    places form a square around the origin, so that shifts are small and round the corners little (below 0.0005 pixels
    for 80 classes). by_matrix: nothing is shifted, see `kept_by_matrix`.
    """
    if by_matrix:
        if end_offset:
            boxes = boxes + Tensor([0, 0, end_offset, end_offset], boxes.dtype)
        same_class = classes.expand_dims(2) == classes.expand_dims(1)
        return kept_by_matrix(ops.logical_and(pairwise_iou(boxes) > threshold, same_class))
    across = int(num_classes ** 0.5 + 0.999)
    row = ops.floor_divide(classes, across)
    column = classes - row * across
    middle, (height, width) = (across - 1) / 2, image_size
    shift_y = (row.astype(boxes.dtype) - middle) * (2 * height)
    shift_x = (column.astype(boxes.dtype) - middle) * (2 * width)
    return nms(boxes + ops.stack((shift_x, shift_y, shift_x, shift_y), -1), scores, threshold, end_offset)


def kept_by_matrix(overlaps: Tensor) -> Tensor:
    """(B, N) bool: which boxes greedy suppression keeps, from (B, N, N) bool: whether two boxes overlap too much.

    For chips whose NMSWithMask takes float16 only (910A, 310, 310P), where a corner at 1,000 pixels is rounded to half
    a pixel, and one that is shifted for its class to 8 pixels. Here all pixels stay float32.

    Each round drops the boxes that overlap with one before them that the round before kept. This is greedy suppression
    as soon as a round changes nothing: after as many rounds as there are boxes in the longest chain of which each
    decides on the next. ROUNDS is fixed, because a loop of unknown length cannot be exported to every format.
    """
    count = overlaps.shape[1]
    before = Tensor(np.triu(np.ones((count, count), bool), 1))
    suppresses = ops.logical_and(overlaps, before).astype(ms.float32)
    kept = ops.ones((overlaps.shape[0], 1, count), ms.float32)
    for _ in range(ROUNDS):
        kept = (ops.BatchMatMul()(kept, suppresses) < 0.5).astype(ms.float32)
    return kept.reshape(-1, count) > 0.5


def pairwise_iou(boxes: Tensor) -> Tensor:
    """(B, N, N) IoU of all pairs of boxes (B, N, 4) x1, y1, x2, y2."""
    x1, y1, x2, y2 = (boxes[:, :, side] for side in range(4))
    width = ops.minimum(x2.expand_dims(2), x2.expand_dims(1)) - ops.maximum(x1.expand_dims(2), x1.expand_dims(1))
    height = ops.minimum(y2.expand_dims(2), y2.expand_dims(1)) - ops.maximum(y1.expand_dims(2), y1.expand_dims(1))
    shared = ops.relu(width) * ops.relu(height)
    areas = (x2 - x1) * (y2 - y1)
    # Boxes without an area overlap with nothing; the sum is above 0 where something is shared.
    return shared / ops.maximum(areas.expand_dims(2) + areas.expand_dims(1) - shared, 1e-6)


def gather_rows(rows: Tensor, index: Tensor) -> Tensor:
    """(B, N, C) and (B, K) -> (B, K, C): gather the rows of each image at its indices."""
    batch, count, width = rows.shape
    first = (ops.arange(batch) * count).astype(index.dtype).expand_dims(-1)
    return ops.gather(rows.reshape(-1, width), (index + first).reshape(-1), 0).reshape(batch, -1, width)
