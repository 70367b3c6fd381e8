"""Converts instance masks between outlines (polygons), COCO run lengths and bitmaps.

Elsewhere a mask is an outline or run lengths: a bitmap for every object would need many times the memory of the image.
"""
from __future__ import annotations

from typing import Callable, Optional, Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def bitmap(segment, height: int, width: int) -> np.ndarray:
    """Polygons (lists of x, y, x, y, ...) or run lengths -> (height, width) uint8 of 0 and 1, as COCO draws them.

    An object with several polygons covers the union of them. Run lengths have a size of their own, which must be the
    image's.
    """
    if isinstance(segment, dict):
        runs = coco_mask.frPyObjects(segment, height, width) if isinstance(segment["counts"], list) else segment
    else:
        runs = coco_mask.merge(coco_mask.frPyObjects(segment, height, width))
    return coco_mask.decode(runs)


def paste_masks(masks: np.ndarray, boxes: np.ndarray, image_size: Sequence[int], threshold: float,
                stretch: Optional[Callable] = None) -> list:
    """Masks of boxes -> COCO run lengths of the whole image, one per box; a pixel is set if it is above the threshold.

    masks: (N, m, m) float32, 0 to 1, each over its box. boxes: (N, 4) x1, y1, x2, y2 in pixels of an image of
    image_size (height, width). stretch: one of the functions below, which maps a mask to pixels; None =
    `over_touched_pixels`.
    """
    stretch = stretch or over_touched_pixels
    # In column order, like run lengths. All masks share one canvas, and each clears its part afterwards.
    canvas = np.zeros(image_size, np.uint8, order="F")
    runs = []
    for mask, box in zip(masks, boxes):
        values, left, top = stretch(mask, box, image_size)
        place = np.s_[top:top + values.shape[0], left:left + values.shape[1]]
        canvas[place] = values > threshold
        runs.append(coco_mask.encode(canvas))
        canvas[place] = 0
    return runs


def over_touched_pixels(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple[np.ndarray, int, int]:
    """As in the old zoo: stretched over all whole pixels that the box touches inside the image, x1 to x2 inclusive.

    Returns the values (h, w) and their upper left pixel x, y.
    """
    height, width = image_size
    x1, y1, x2, y2 = np.floor(box).astype(np.int64).tolist()
    left, top = max(x1, 0), max(y1, 0)
    return _resized(mask, min(y2 + 1, height) - top, min(x2 + 1, width) - left), left, top


def over_grown_pixels(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple[np.ndarray, int, int]:
    """As in torchvision: mask and box grow by an empty margin of one cell; the mask is stretched over whole pixels, x1
    to x2 inclusive, and cut off at the image. Returns the values (h, w) and their upper left pixel x, y."""
    height, width = image_size
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * ((len(mask) + 2) / len(mask))
    (x1, y1), (x2, y2) = (middle - half).astype(np.int64).tolist(), (middle + half).astype(np.int64).tolist()
    values = _resized(np.pad(mask, 1), y2 - y1 + 1, x2 - x1 + 1)
    left, top = max(x1, 0), max(y1, 0)
    return values[top - y1:max(height - y1, 0), left - x1:max(width - x1, 0)], left, top


def over_box(mask: np.ndarray, box: np.ndarray, image_size: Sequence[int]) -> tuple[np.ndarray, int, int]:
    """As in mmdetection: the mask is interpolated at the centre of each pixel of the box, with zeros around it. Returns
    the values (h, w) and their upper left pixel x, y."""
    corners = np.clip(np.concatenate([np.floor(box[:2]) - 1, np.ceil(box[2:]) + 1]), 0, np.tile(image_size[::-1], 2))
    left, top, right, bottom = corners.astype(np.int64).tolist()
    rows, columns = (_weights(np.arange(first, last) + 0.5, low, high, len(mask))
                     for first, last, low, high in ((top, bottom, box[1], box[3]), (left, right, box[0], box[2])))
    return rows @ mask @ columns.T, left, top


def _weights(positions: np.ndarray, low: float, high: float, cells: int) -> np.ndarray:
    """(positions, cells): weights of a linear interpolation between the centres of the cells of a range."""
    places = (positions - low) / max(high - low, 1e-6) * cells - 0.5
    return np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0).astype(np.float32)


def _resized(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    if height < 1 or width < 1:
        return np.zeros((0, 0), np.float32)
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
