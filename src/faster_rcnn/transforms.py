"""Sample -> network input of Faster R-CNN, in numpy.

Boxes come and go as x1, y1, x2, y2 with x2 = x1 + width; between, on the canvas, x2 and y2 are the last pixel, as the
zoo's networks were trained. Pictures stay uint8 until the device normalises them.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Optional, Sequence

import cv2
import numpy as np

from src.faster_rcnn.box_styles import BOX_STYLES, BoxStyle
from src.faster_rcnn.targets import AnchorSampler

MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
LARGEST_EXPANSION = 4


@dataclass(frozen=True)
class Placement:
    """How a picture lies on the canvas that the network sees: in its corner, or mirrored with all of the canvas."""

    picture_size: tuple     # height, width
    canvas_size: tuple      # of the network's input
    resized_size: tuple     # of the picture on the canvas, with the margin of `expand`
    scale: tuple            # factors of y and x
    style: BoxStyle = BOX_STYLES["zoo"]
    offset: tuple = (0, 0)  # pixels above and left of the picture that `expand` put there, before scaling
    flipped: bool = False

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The canvas (H, W, 3) uint8 with this picture, which has been expanded already.

        The rest is black, as in the zoo; elsewhere it has the colour that becomes about 0 when it is normalised.
        """
        height, width = self.resized_size
        canvas = np.full((*self.canvas_size, 3), MEAN.round() if self.style.exact_ends else 0, np.uint8)
        canvas[:height, :width] = self.resize(image)
        return cv2.flip(canvas, 1) if self.flipped else canvas

    def network_input(self, image: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 RGB -> (3, H, W) float32, normalised; where boxes have exact ends the padding is 0, and
        FasterRCNNInference sees by it where the picture ends."""
        if not self.style.exact_ends:
            return normalize(self.draw(image))
        height, width = self.resized_size
        canvas = np.zeros((3, *self.canvas_size), np.float32)
        canvas[:, :height, :width] = normalize(
            self.resize(image.astype(np.float32) if self.style.resized_as_numbers else image))
        return canvas

    def resize(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, self.resized_size[::-1], interpolation=cv2.INTER_LINEAR)

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) boxes of the picture -> (N, 4) float32 on the canvas, last pixel included."""
        height, width = self.picture_size
        first = np.clip(boxes[:, :2], 0, [width - 1, height - 1])
        last = np.clip(boxes[:, 2:] - 1, first, [width - 1, height - 1]) + self.style.exact_ends
        corners = (np.concatenate([first, last], axis=1) + np.tile(self.offset[::-1], 2)) * np.tile(self.scale[::-1], 2)
        corners[:, 2:] -= self.style.exact_ends
        corners = np.minimum(corners, np.tile(self.resized_size[::-1], 2) - 1)
        if self.flipped:
            corners[:, [0, 2]] = self.canvas_size[1] - 1 - corners[:, [2, 0]]
        return corners.astype(np.float32)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """The inverse for a picture that is neither expanded nor mirrored; what lies beyond its edge is cut off."""
        end = np.array([0, 0, 1, 1], np.float32)
        exact = self.style.exact_ends
        corners = (boxes + end * exact) / np.tile(self.scale[::-1], 2) + end * (not exact)
        height, width = self.picture_size
        return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


class TrainTransform:
    """Expansion, resize and flip of one picture, and its targets.

    max_objects: rows of "boxes"; of a picture with more, so many are drawn for the box head, anew in each epoch, while
    the anchors learn from all. priorities: random numbers that ProposalSampler needs. expand_prob: probability of
    trying an expansion, which then happens every other time, as in the zoo. resizing: arguments of `fit`.
    Returns "image" (H, W, 3) uint8, the arrays of AnchorSampler, "boxes" (G, 4) float32 on the canvas, "labels" (G,)
    int32, class + 1 or 0 for padding, and "priority" (P,) float32; crowds are nobody's target.
    """

    def __init__(self, image_size: Sequence[int], anchors: AnchorSampler, *, max_objects: int, priorities: int,
                 flip_prob: float = 0.5, expand_prob: float = 1.0, **resizing):
        self.image_size = tuple(image_size)
        self.anchors = anchors
        self.max_objects = max_objects
        self.priorities = priorities
        self.flip_prob = flip_prob
        self.expand_prob = expand_prob
        self.resizing = resizing

    def __call__(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> dict:
        return self.prepare(image, target, rng)[0]

    def prepare(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> tuple:
        """(what a call returns, the Placement of the picture, which of its objects the rows of "boxes" are)."""
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

    def place(self, image: np.ndarray, rng: np.random.Generator) -> tuple:
        """(canvas (H, W, 3) uint8, its Placement)."""
        picture_size, offset = image.shape[:2], (0, 0)
        if rng.random() < self.expand_prob and rng.random() < 0.5:
            image, offset = expand(image, rng)
        placement = replace(fit(image.shape[:2], self.image_size, **self.resizing), picture_size=picture_size,
                            offset=offset, flipped=rng.random() < self.flip_prob)
        return placement.draw(image), placement


def expand(image: np.ndarray, rng: np.random.Generator) -> tuple:
    """The picture at a random place on a black canvas of up to LARGEST_EXPANSION times its sides: (canvas, (top,
    left)). Objects get smaller that way."""
    height, width = image.shape[:2]
    ratio = rng.uniform(1, LARGEST_EXPANSION)
    top, left = int(rng.uniform(0, height * ratio - height)), int(rng.uniform(0, width * ratio - width))
    canvas = np.zeros((int(height * ratio), int(width * ratio), 3), np.uint8)
    canvas[top:top + height, left:left + width] = image
    return canvas, (top, left)


def fit(picture_size: Sequence[int], canvas_size: Sequence[int], keep_ratio: bool = True,
        sides: Optional[Sequence[int]] = None, style: BoxStyle = BOX_STYLES["zoo"]) -> Placement:
    """The Placement that fills the canvas with the picture, in one direction at least; sizes are (height, width).

    sides: see the setting resize_sides.
    One resize to the final size; the zoo enlarges portraits first and then shrinks them, to the same size.
    """
    scale = tuple(side / old for side, old in zip(canvas_size, picture_size))
    if keep_ratio:
        wanted = (sides[0] / min(picture_size), sides[1] / max(picture_size)) if sides else ()
        scale = (min(*scale, *wanted),) * 2
    rounding = 0 if keep_ratio and style.resized_as_numbers else 0.5
    resized = tuple(max(1, min(side, int(old * factor + rounding)))
                    for side, old, factor in zip(canvas_size, picture_size, scale))
    if style.exact_ends:  # there corners are scaled by what the sides really are
        scale = tuple(side / old for side, old in zip(resized, picture_size))
    return Placement(tuple(picture_size), tuple(canvas_size), resized, scale, style)


def normalize(canvas: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 with the mean and spread of ImageNet."""
    return np.ascontiguousarray(((canvas.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))
