"""Sample -> network input of Faster R-CNN, in numpy.

Boxes come and go as x1, y1, x2, y2 with x2 = x1 + width; between, on the canvas, x2 and y2 are the last pixel, as the
zoo's networks were trained. Images stay uint8 until the device normalises them.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional, Sequence

import cv2
import numpy as np
from PIL import Image

from src.faster_rcnn.box_styles import BOX_STYLES, BoxStyle
from src.faster_rcnn.targets import AnchorSampler

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
PADDING = {"black": 0, "mean": MEAN.round()}  # of uint8 canvases, by BoxStyle.padding
LARGEST_EXPANSION = 4


@dataclass(frozen=True)
class Placement:
    """How an image lies on the canvas that the network sees: in its corner, or mirrored with all of the canvas."""

    image_size: tuple       # height, width
    input_size: tuple       # height, width of the canvas, which is the network input
    resized_size: tuple     # of the image on the canvas, with the margin of `expand`
    scale: tuple            # factors of y and x
    style: BoxStyle = BOX_STYLES["zoo"]
    offset: tuple = (0, 0)  # pixels above and left of the image that `expand` put there, before scaling
    flipped: bool = False

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The canvas (H, W, 3) uint8 with this image, which has been expanded already, beside padding."""
        height, width = self.resized_size
        canvas = np.full((*self.input_size, 3), PADDING[self.style.padding], np.uint8)
        canvas[:height, :width] = self.resize(image)
        return cv2.flip(canvas, 1) if self.flipped else canvas

    def network_input(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 RGB -> (3, H, W) float32, normalised; the padding "mean" is exactly 0 then."""
        height, width = self.resized_size
        canvas = np.zeros((3, *self.input_size), np.float32)
        if self.style.padding == "black":
            canvas[:] = normalize(np.zeros((1, 1, 3), np.uint8))
        canvas[:, :height, :width] = normalize(self.resize(self._as_resized(image)))
        return canvas

    def canvas(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 RGB -> (H, W, 3) of the kind that is resized: the image beside black padding."""
        resized = self.resize(self._as_resized(image))
        canvas = np.zeros((*self.input_size, 3), resized.dtype)
        canvas[:resized.shape[0], :resized.shape[1]] = resized
        return canvas

    def _as_resized(self, image: np.ndarray) -> np.ndarray:
        return image.astype(np.float32) if self.style.resized_as == "float32" else image

    def resize(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 or float32 -> (*resized_size, 3) of the same kind; Pillow's way takes uint8 only."""
        if self.style.resized_as == "pillow":
            return np.asarray(Image.fromarray(image).resize(self.resized_size[::-1], Image.Resampling.BILINEAR))
        return cv2.resize(image, self.resized_size[::-1], interpolation=cv2.INTER_LINEAR)

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) boxes of the image -> (N, 4) float32 on the canvas, last pixel included."""
        height, width = self.image_size
        first = np.clip(boxes[:, :2], 0, [width - 1, height - 1])
        last = np.clip(boxes[:, 2:] - 1, first, [width - 1, height - 1]) + self.style.scaled_end_offset
        corners = (np.concatenate([first, last], axis=1) + np.tile(self.offset[::-1], 2)) * np.tile(self.scale[::-1], 2)
        corners[:, 2:] -= self.style.scaled_end_offset
        corners = np.minimum(corners, np.tile(self.resized_size[::-1], 2) - 1)
        if self.flipped:
            corners[:, [0, 2]] = self.input_size[1] - 1 - corners[:, [2, 0]]
        return corners.astype(np.float32)

    def to_image(self, boxes: np.ndarray) -> np.ndarray:
        """The inverse for an image that is neither expanded nor mirrored; what lies beyond its edge is cut off."""
        end, offset = np.array([0, 0, 1, 1], np.float32), self.style.scaled_end_offset
        corners = (boxes + end * offset) / np.tile(self.scale[::-1], 2) + end * (1 - offset)
        height, width = self.image_size
        return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


class TrainTransform:
    """Expansion, resize and flip of one image, and its targets.

    input_size: height, width of the network input. max_objects: rows of "boxes"; if an image has more objects, a random
    subset of this size is drawn for the box head in each epoch, while the anchors learn from all. priorities: random
    numbers that ProposalSampler needs. expand_prob: probability of attempting an expansion; half of the attempts
    expand, as in the zoo. resizing: arguments of `fit`.
    Returns "image" (H, W, 3) uint8, the arrays of AnchorSampler, "boxes" (G, 4) float32 on the canvas, "labels" (G,)
    int32, class + 1 or 0 for padding, and "priority" (P,) float32; crowds are ignored.
    """

    def __init__(self, input_size: Sequence[int], anchors: AnchorSampler, *, max_objects: int, priorities: int,
                 flip_prob: float = 0.5, expand_prob: float = 1.0, **resizing):
        self.input_size = tuple(input_size)
        self.anchors = anchors
        self.max_objects = max_objects
        self.priorities = priorities
        self.flip_prob = flip_prob
        self.expand_prob = expand_prob
        self.resizing = resizing

    def __call__(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> dict:
        return self.prepare(image, target, rng)[0]

    def prepare(self, image: np.ndarray, target: dict[str, Any],
                rng: np.random.Generator) -> tuple[dict[str, Any], Placement, np.ndarray]:
        """(what a call returns, the Placement of the image, which of its objects the rows of "boxes" are)."""
        image, placement = self.place(image, rng)
        real = np.flatnonzero(~target["crowd"])
        boxes, labels = placement.to_canvas(target["boxes"][real]), target["labels"][real] + 1
        kept = np.arange(len(boxes))
        if len(boxes) > self.max_objects:
            kept = rng.choice(len(boxes), self.max_objects, replace=False)
        padded_boxes = np.zeros((self.max_objects, 4), np.float32)
        padded_labels = np.zeros(self.max_objects, np.int32)
        padded_boxes[:len(kept)], padded_labels[:len(kept)] = boxes[kept], labels[kept]
        arrays = {"image": image, **self.anchors(boxes, rng), "boxes": padded_boxes, "labels": padded_labels,
                  "priority": rng.random(self.priorities, np.float32)}
        return arrays, placement, real[kept]

    def place(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Placement]:
        """(canvas (H, W, 3) uint8, its Placement)."""
        image_size, offset = image.shape[:2], (0, 0)
        if rng.random() < self.expand_prob and rng.random() < 0.5:
            image, offset = expand(image, rng)
        placement = replace(fit(image.shape[:2], self.input_size, **self.resizing), image_size=image_size,
                            offset=offset, flipped=rng.random() < self.flip_prob)
        return placement.draw(image), placement


def expand(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
    """The image at a random place on a black canvas of up to LARGEST_EXPANSION times its sides: (canvas, (top, left)).
    Objects get smaller that way."""
    height, width = image.shape[:2]
    ratio = rng.uniform(1, LARGEST_EXPANSION)
    top, left = int(rng.uniform(0, height * ratio - height)), int(rng.uniform(0, width * ratio - width))
    canvas = np.zeros((int(height * ratio), int(width * ratio), 3), np.uint8)
    canvas[top:top + height, left:left + width] = image
    return canvas, (top, left)


def fit(image_size: Sequence[int], input_size: Sequence[int], keep_ratio: bool = True,
        sides: Optional[Sequence[int]] = None, style: BoxStyle = BOX_STYLES["zoo"]) -> Placement:
    """The Placement that fills the canvas with the image, in one direction at least; sizes are (height, width).

    sides: with keep_ratio the length of the shorter side, and the one that the longer must not exceed.
    One resize to the final size; the zoo enlarges portraits first and then shrinks them, to the same size.
    """
    scale = tuple(side / old for side, old in zip(input_size, image_size))
    if keep_ratio:
        wanted = (sides[0] / min(image_size), sides[1] / max(image_size)) if sides else ()
        scale = (min(*scale, *wanted),) * 2
    rounding = 0 if keep_ratio and style.resized_as == "float32" else 0.5
    resized = tuple(max(1, min(side, int(old * factor + rounding)))
                    for side, old, factor in zip(input_size, image_size, scale))
    if style.scaled_by_sides:
        scale = tuple(side / old for side, old in zip(resized, image_size))
    return Placement(tuple(image_size), tuple(input_size), resized, scale, style)


def normalize(canvas: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 with the mean and std of ImageNet."""
    return np.ascontiguousarray(((canvas.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))
