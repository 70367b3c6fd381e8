"""Sample -> network input of Faster R-CNN, in numpy.

Boxes come and go as x1, y1, x2, y2 with x2 = x1 + width; between, on the canvas, x2 and y2 are the last pixel, as the
zoo's networks were trained. Pictures stay uint8 until the device normalises them.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

import cv2
import numpy as np

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
    offset: tuple = (0, 0)  # pixels above and left of the picture that `expand` put there, before scaling
    flipped: bool = False

    def draw(self, image: np.ndarray) -> np.ndarray:
        """The canvas (H, W, 3) uint8 with this picture, which has been expanded already; the rest is black."""
        height, width = self.resized_size
        canvas = np.zeros((*self.canvas_size, 3), np.uint8)
        canvas[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return cv2.flip(canvas, 1) if self.flipped else canvas

    def to_canvas(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) boxes of the picture -> (N, 4) float32 on the canvas, last pixel included."""
        height, width = self.picture_size
        first = np.clip(boxes[:, :2], 0, [width - 1, height - 1])
        last = np.clip(boxes[:, 2:] - 1, first, [width - 1, height - 1])
        corners = (np.concatenate([first, last], axis=1) + np.tile(self.offset[::-1], 2)) * np.tile(self.scale[::-1], 2)
        corners = np.minimum(corners, np.tile(self.resized_size[::-1], 2) - 1)
        if self.flipped:
            corners[:, [0, 2]] = self.canvas_size[1] - 1 - corners[:, [2, 0]]
        return corners.astype(np.float32)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """The inverse for a picture that is neither expanded nor mirrored; what lies beyond its edge is cut off."""
        corners = boxes / np.tile(self.scale[::-1], 2)
        corners[:, 2:] += 1
        height, width = self.picture_size
        return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


class TrainTransform:
    """Expansion, resize and flip of one picture, and its targets.

    max_objects: rows of "boxes"; of a picture with more, so many are drawn for the box head, anew in each epoch, while
    the anchors learn from all. priorities: random numbers that ProposalSampler needs. expand_prob: probability of
    trying an expansion, which then happens every other time, as in the zoo.
    Returns "image" (H, W, 3) uint8, the arrays of AnchorSampler, "boxes" (G, 4) float32 on the canvas, "labels" (G,)
    int32, class + 1 or 0 for padding, and "priority" (P,) float32; crowds are nobody's target.
    """

    def __init__(self, image_size: Sequence[int], anchors: AnchorSampler, *, max_objects: int, priorities: int,
                 flip_prob: float = 0.5, expand_prob: float = 1.0, keep_ratio: bool = True):
        self.image_size = tuple(image_size)
        self.anchors = anchors
        self.max_objects = max_objects
        self.priorities = priorities
        self.flip_prob = flip_prob
        self.expand_prob = expand_prob
        self.keep_ratio = keep_ratio

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
        placement = replace(fit(image.shape[:2], self.image_size, self.keep_ratio), picture_size=picture_size,
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


def fit(picture_size: Sequence[int], canvas_size: Sequence[int], keep_ratio: bool) -> Placement:
    """The Placement that fills the canvas with the picture, in one direction at least; sizes are (height, width).

    One resize to the final size; the zoo enlarges portraits first and then shrinks them, to the same size.
    """
    scale = tuple(side / old for side, old in zip(canvas_size, picture_size))
    if keep_ratio:
        scale = (min(scale),) * 2
    resized = tuple(max(1, min(side, int(old * factor + 0.5)))
                    for side, old, factor in zip(canvas_size, picture_size, scale))
    return Placement(tuple(picture_size), tuple(canvas_size), resized, scale)


def normalize(canvas: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 with the mean and spread of ImageNet."""
    return np.ascontiguousarray(((canvas.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))
