"""Large images in tiles: the tiles of an image and the whole of it are detected one by one, and the boxes merged.

Small objects keep their pixels, which the resizing of a large image to the network's input would take from them
(Akyon et al. 2022, "Slicing aided hyper inference").
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from src.ops.detections import Detections
from src.ops.masks import bitmap
from src.settings.schema import EvalSection

MERGE_IOU = 0.5     # above it, two boxes of one class from different tiles are one object
MARGIN = 2.0        # pixels of an image between a box and the inner border of its tile, less than which it is cut off


class Window(NamedTuple):
    """A part of an image, in its pixels."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass(frozen=True)
class _Placed:
    """The geometry of a view of one window of an image of (height, width)."""

    window: Window
    image_size: tuple[int, int]
    geometry: Any


def windows(height: int, width: int, side: int, overlap: float) -> list[Window]:
    """The whole image, and where it is larger than a tile the tiles of `side` pixels that cover it evenly, each
    overlapping the next by at least that fraction."""
    whole = Window(0, 0, width, height)
    if max(height, width) <= side:
        return [whole]
    tiles = [Window(x, y, min(x + side, width), min(y + side, height))
             for y in _starts(height, side, overlap) for x in _starts(width, side, overlap)]
    return [whole, *tiles]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / max(side * (1 - overlap), 1)))
    return np.linspace(0, length - side, count).round().astype(int).tolist()


class TiledDetector:
    """A family's detector that a Predictor runs on the windows of an image; everything else is the detector's."""

    def __init__(self, detector: Any, side: int, overlap: float):
        self.detector = detector
        self.side = side
        self.overlap = overlap

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)

    def views(self, image: np.ndarray, one_shape: bool = False) -> list[tuple[np.ndarray, _Placed]]:
        """The network inputs of all windows of an image (h, w, 3) uint8 RGB."""
        size = image.shape[0], image.shape[1]
        return [(array, _Placed(window, size, geometry)) for window in windows(*size, self.side, self.overlap)
                for array, geometry in self.detector.views(
                    np.ascontiguousarray(image[window.y1:window.y2, window.x1:window.x2]), one_shape=one_shape)]

    def further_inputs(self, geometry: _Placed) -> tuple[np.ndarray, ...]:
        return self.detector.further_inputs(geometry.geometry)

    def postprocess_views(self, outputs: Sequence[Sequence[np.ndarray]], geometries: Sequence[_Placed]) -> Detections:
        """Detections of the whole image: of each window without those that its border cuts off, merged by suppression
        within classes."""
        size, parts = geometries[0].image_size, []
        order = list(dict.fromkeys(placed.window for placed in geometries))
        for window in order:
            chosen = [index for index, placed in enumerate(geometries) if placed.window == window]
            found = self.detector.postprocess_views([outputs[index] for index in chosen],
                                                    [geometries[index].geometry for index in chosen])
            parts.append(_in_image(found, window, size))
        if len(parts) == 1:
            return parts[0]
        boxes, scores, labels = (np.concatenate([getattr(part, name) for part in parts])
                                 for name in ("boxes", "scores", "labels"))
        owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        kept = _merged(boxes, scores, labels, owners)
        masks = None if parts[0].masks is None else [mask for part in parts for mask in part.masks or ()]
        return Detections(boxes[kept], scores[kept], labels[kept], None if masks is None else
                          [_pasted(masks[index], order[owners[index]], size) for index in kept])


def _in_image(found: Detections, window: Window, image_size: tuple[int, int]) -> Detections:
    """The detections of a window in pixels of the image, without those that an inner border cuts off; the masks stay
    those of the window."""
    height, width = image_size
    boxes = found.boxes + np.array([window.x1, window.y1, window.x1, window.y1], np.float32)
    whole = np.ones(len(found), bool)
    for column, border, is_inner in ((0, window.x1, window.x1 > 0), (1, window.y1, window.y1 > 0),
                                     (2, window.x2, window.x2 < width), (3, window.y2, window.y2 < height)):
        if is_inner:
            whole &= np.abs(boxes[:, column] - border) >= MARGIN
    kept = np.flatnonzero(whole)
    masks = None if found.masks is None else [found.masks[index] for index in kept]
    return Detections(boxes[kept], found.scores[kept], found.labels[kept], masks)


def _merged(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Indices, best first, of the boxes that overlap no better one of their class from another window by more than
    MERGE_IOU; within a window the detector has suppressed already."""
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    while len(order):
        best, others = order[0], order[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[others, 2:]) - np.maximum(boxes[best, :2], boxes[others, :2])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        same = ((shared > MERGE_IOU * (areas[best] + areas[others] - shared)) & (labels[others] == labels[best])
                & (owners[others] != owners[best]))
        order = others[~same]
    return np.array(kept, np.int64)


def _pasted(mask: dict, window: Window, image_size: tuple[int, int]) -> dict:
    """Run lengths of a window -> run lengths of the image."""
    if (window.y2 - window.y1, window.x2 - window.x1) == image_size:
        return mask
    canvas = np.zeros(image_size, np.uint8, order="F")
    canvas[window.y1:window.y2, window.x1:window.x2] = bitmap(mask, window.y2 - window.y1, window.x2 - window.x1)
    return coco_mask.encode(canvas)


def tiled(detector: Any, settings: EvalSection) -> Any:
    """The detector as the settings tile and tile_overlap ask for it."""
    return detector if settings.tile is None else TiledDetector(detector, settings.tile, settings.tile_overlap)
