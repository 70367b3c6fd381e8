"""Instance masks between their three forms: outlines (polygons), COCO run lengths, and bitmaps.

Everywhere but inside one function a mask travels as an outline or as run lengths; a bitmap of every object of a
picture would outweigh the picture itself many times over.
"""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def bitmap(segment, height: int, width: int) -> np.ndarray:
    """Polygons (lists of x, y, x, y, ...) or run lengths -> (height, width) uint8 of 0 and 1, as COCO draws them.

    An object of several polygons covers what any of them covers. Run lengths have their own size, which has to be
    that of the picture.
    """
    if isinstance(segment, dict):
        runs = coco_mask.frPyObjects(segment, height, width) if isinstance(segment["counts"], list) else segment
    else:
        runs = coco_mask.merge(coco_mask.frPyObjects(segment, height, width))
    return coco_mask.decode(runs)


def paste_masks(masks: np.ndarray, boxes: np.ndarray, image_size: Sequence[int], threshold: float) -> list:
    """Masks of boxes -> COCO run lengths of the whole picture, one per box.

    masks: (N, m, m) float32 in 0..1, each over its box. boxes: (N, 4) x1, y1, x2, y2 in pixels of a picture of
    image_size (height, width). As in the old zoo, a mask is stretched over the whole pixels that its box touches in
    the picture, x1 to x2 inclusive, and is set above the threshold.
    """
    height, width = image_size
    # Column by column, as run lengths count; one canvas serves all masks, each cleans up after itself.
    canvas = np.zeros((height, width), np.uint8, order="F")
    corners = np.floor(boxes).astype(np.int64)
    starts, ends = np.maximum(corners[:, :2], 0), np.minimum(corners[:, 2:] + 1, (width, height))
    runs = []
    for mask, (x1, y1), (x2, y2) in zip(masks, starts, ends):
        if x1 < x2 and y1 < y2:
            stretched = cv2.resize(mask, (int(x2 - x1), int(y2 - y1)), interpolation=cv2.INTER_LINEAR)
            canvas[y1:y2, x1:x2] = stretched > threshold
        runs.append(coco_mask.encode(canvas))
        canvas[y1:y2, x1:x2] = 0
    return runs
