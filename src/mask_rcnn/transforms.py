"""Sample -> network input of Mask R-CNN, in numpy: what Faster R-CNN gets, and the objects' bitmaps."""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from src.faster_rcnn import transforms
from src.faster_rcnn.transforms import Placement
from src.ops.masks import bitmap


class TrainTransform(transforms.TrainTransform):
    """Faster R-CNN's transform, which also returns "bitmaps" (G, H, W / 8) uint8, a bit per pixel of the canvas."""

    def __call__(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> dict:
        arrays, placement, objects = self.prepare(image, target, rng)
        height, width = self.input_size
        bitmaps = np.zeros((self.max_objects, height, width // 8), np.uint8)
        bitmaps[:len(objects)] = pack([target["segments"][index] for index in objects], placement)
        return {**arrays, "bitmaps": bitmaps}


def pack(segments: Sequence, placement: Placement) -> np.ndarray:
    """Outlines in pixels of the image -> (N, H, W / 8) uint8: bitmaps of the canvas, eight pixels to the byte.

    A mask target needs the pixels of its object, as in the zoo; with a byte for each, an image with 128 objects would
    take 126 MB. Resized without interpolation, as in the zoo.
    """
    canvas_height, canvas_width = placement.input_size
    image_height, image_width = placement.image_size
    scale_y, scale_x = placement.scale
    top, left = int(placement.offset[0] * scale_y + 0.5), int(placement.offset[1] * scale_x + 0.5)
    height = min(int(image_height * scale_y + 0.5), canvas_height - top)
    width = min(int(image_width * scale_x + 0.5), canvas_width - left)
    packed = np.zeros((len(segments), canvas_height, canvas_width // 8), np.uint8)
    canvas = np.zeros((canvas_height, canvas_width), np.uint8)
    for index, segment in enumerate(segments):
        canvas[top:top + height, left:left + width] = cv2.resize(
            bitmap(segment, image_height, image_width), (width, height), interpolation=cv2.INTER_NEAREST)
        packed[index] = np.packbits(canvas[:, ::-1] if placement.flipped else canvas, axis=1)
    return packed
