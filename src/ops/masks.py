"""Instance masks between their three forms: outlines (polygons), COCO run lengths, and bitmaps.

Everywhere but inside one function a mask travels as an outline or as run lengths; a bitmap of every object of a
image would outweigh the image itself many times over.
"""
from __future__ import annotations

from typing import Callable, Optional, Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def bitmap(segment, height: int, width: int) -> np.ndarray:
    """Polygons (lists of x, y, x, y, ...) or run lengths -> (height, width) uint8 of 0 and 1, as COCO draws them.

    An object of several polygons covers what any of them covers. Run lengths have their own size, which has to be
    that of the image.
    """
    if isinstance(segment, dict):
        runs = coco_mask.frPyObjects(segment, height, width) if isinstance(segment["counts"], list) else segment
    else:
        runs = coco_mask.merge(coco_mask.frPyObjects(segment, height, width))
    return coco_mask.decode(runs)


def paste_masks(masks: np.ndarray, boxes: np.ndarray, image_size: Sequence[int], threshold: float,
                stretch: Optional[Callable] = None) -> list:
    """Masks of boxes -> COCO run lengths of the whole image, one per box; set is what is above the threshold.

    masks: (N, m, m) float32 in 0..1, each over its box. boxes: (N, 4) x1, y1, x2, y2 in pixels of an image of
    image_size (height, width). stretch: which pixels a mask covers and how, one of the functions below; without it
    `over_touched_pixels`.
    """
    stretch = stretch or over_touched_pixels
    # Column by column, as run lengths count; one canvas serves all masks, each cleans up after itself.
    canvas = np.zeros(image_size, np.uint8, order="F")
    runs = []
    for mask, box in zip(masks, boxes):
        values, left, top = stretch(mask, box, image_size)
        place = np.s_[top:top + values.shape[0], left:left + values.shape[1]]
        canvas[place] = values > threshold
        runs.append(coco_mask.encode(canvas))
        canvas[place] = 0
    return runs


def over_touched_pixels(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple:
    """As in the old zoo: over the whole pixels that the box touches in the image, x1 to x2 inclusive.

    Returns the values (h, w), and where these begin: x, y.
    """
    height, width = image_size
    x1, y1, x2, y2 = np.floor(box).astype(np.int64).tolist()
    left, top = max(x1, 0), max(y1, 0)
    return _resized(mask, min(y2 + 1, height) - top, min(x2 + 1, width) - left), left, top


def over_grown_pixels(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple:
    """As in torchvision: with an empty margin of a cell, by which the box grows as well, over its whole pixels, x1 to
    x2 inclusive; what is beyond the image is cut off. Returns what `over_touched_pixels` does."""
    height, width = image_size
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ((len(mask) + 2) / len(mask))
    (x1, y1), (x2, y2) = (middle - half).astype(np.int64).tolist(), (middle + half).astype(np.int64).tolist()
    values = _resized(np.pad(mask, 1), y2 - y1 + 1, x2 - x1 + 1)
    left, top = max(x1, 0), max(y1, 0)
    return values[top - y1:max(height - y1, 0), left - x1:max(width - x1, 0)], left, top


def over_box(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple:
    """As in mmdetection: over the box itself, looked up in the middle of each pixel, and falling off to nothing around
    it. Returns what `over_touched_pixels` does."""
    corners = np.clip(np.concatenate([np.floor(box[:2]) - 1, np.ceil(box[2:]) + 1]), 0, np.tile(image_size[::-1], 2))
    left, top, right, bottom = corners.astype(np.int64).tolist()
    rows, columns = (_weights(np.arange(first, last) + 0.5, low, high, len(mask))
                     for first, last, low, high in ((top, bottom, box[1], box[3]), (left, right, box[0], box[2])))
    return rows @ mask @ columns.T, left, top


def _weights(positions: np.ndarray, low: float, high: float, cells: int) -> np.ndarray:
    """(positions, cells): linear interpolation between the middles of the cells that a range consists of."""
    places = (positions - low) / max(high - low, 1e-6) * cells - 0.5
    return np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0).astype(np.float32)


def _resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    if height < 1 or width < 1:
        return np.zeros((0, 0), np.float32)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
