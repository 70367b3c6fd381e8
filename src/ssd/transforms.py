"""Sample -> network input of SSD (section 2.2, "Data augmentation"), in numpy.

Images stay uint8 until the device normalises them: moving float32 data would take longer than the whole augmentation.
Boxes in this module are y1, x1, y2, x2 in pixels, float32, as SSD encodes them.
"""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from src.ops.boxes import box_iou
from src.ssd.targets import TargetEncoder

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255
CROP_OVERLAPS = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
GRAY = np.array([0.299, 0.587, 0.114], np.float32)


class TrainTransform:
    """Crop, resize, flip and colour of one image, and its targets.

    Returns "image" (H, W, 3) uint8, "deltas" (N, 4) float32 and "classes" (N,) int32; crowds are ignored. With
    a dropout_shape also "dropout", uint8 factors of that shape: half of them 0, the others 2; without `drop` all are 1.
    """

    def __init__(self, input_size: Sequence[int], encoder: TargetEncoder, *, flip_prob: float = 0.5,
                 color_jitter: Sequence[float] = (0.4, 0.4, 0.4), crop_tries: int = 50, crop_rule: str = "zoo",
                 zoom_out: float = 1.0, dropout_shape: Sequence[int] = (), drop: bool = True):
        self.input_size = tuple(input_size)
        self.encoder = encoder
        self.flip_prob = flip_prob
        self.color_jitter = tuple(color_jitter)
        self.crop_tries = crop_tries
        self.crop_rule = crop_rule
        self.zoom_out = zoom_out
        self.dropout_shape = tuple(dropout_shape)
        self.drop = drop

    def __call__(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> dict:
        real = ~target["crowd"]
        boxes, labels = target["boxes"][real][:, [1, 0, 3, 2]].astype(np.float32), target["labels"][real]
        if self.zoom_out > 1 and rng.random() < 0.5:
            image, boxes = zoom_out(image, boxes, self.zoom_out, rng)
        image, boxes, kept = random_crop(image, boxes, rng, self.crop_tries, self.crop_rule)
        labels = labels[kept]
        height, width = image.shape[:2]
        image = resize(image, self.input_size)
        boxes = boxes / np.array([height, width, height, width], np.float32)
        if rng.random() < self.flip_prob:
            image = cv2.flip(image, 1)
            boxes = np.stack([boxes[:, 0], 1 - boxes[:, 3], boxes[:, 2], 1 - boxes[:, 1]], axis=1)
        image = adjust_color(image, self.color_jitter, rng)
        deltas, classes = self.encoder(boxes, labels)
        sample = {"image": image, "deltas": deltas, "classes": classes}
        if self.dropout_shape:
            sample["dropout"] = (2 * rng.integers(0, 2, self.dropout_shape, np.uint8) if self.drop
                                 else np.ones(self.dropout_shape, np.uint8))
        return sample


def eval_input(image: np.ndarray, input_size: Sequence[int], mean: np.ndarray = MEAN,
               std: np.ndarray = STD) -> np.ndarray:
    """RGB image (h, w, 3) uint8 -> network input (3, H, W) float32."""
    return normalize(resize(image, input_size), mean, std)


def resize(image: np.ndarray, input_size: Sequence[int]) -> np.ndarray:
    """To (height, width) without keeping the ratio, as uint8: bit for bit what the C++ application computes."""
    return cv2.resize(image, (input_size[1], input_size[0]), interpolation=cv2.INTER_LINEAR)


def normalize(image: np.ndarray, mean: np.ndarray = MEAN, std: np.ndarray = STD) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 by mean and standard deviation, by default ImageNet's."""
    return np.ascontiguousarray(((image.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def random_crop(image: np.ndarray, boxes: np.ndarray, rng, tries: int = 50,
                rule: str = "zoo") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop a random part of the image that overlaps the objects by a randomly drawn amount.

    Returns the image, the boxes whose centre lies in it, clipped, and their indices.
    rule "visible": each of these boxes keeps at least this fraction of its area. "zoo": a part is refused only if the
    smallest IoU with an object is below the amount and the largest is above the amount + 0.2. With a single object this
    refuses nothing: of objects with 30 % to 95 % of the side 44 % then show less than 0.7 of their area (24 % with
    "visible"), and their boxes end where the image ends. The paper's own rule, an IoU of the amount
    with one object, refuses most crops where objects are small: on BCCD 37 % of the images are cropped, 88 % by the
    zoo's, 77 % by "visible".
    """
    everything = np.arange(len(boxes))
    min_overlap = rng.choice(CROP_OVERLAPS)
    if min_overlap is None or not len(boxes):
        return image, boxes, everything
    height, width = image.shape[:2]
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    for _ in range(tries):
        crop_width = (0.3 + 0.7 * rng.random()) * width
        crop_height = (0.3 + 0.7 * rng.random()) * height
        if not 0.5 <= crop_height / crop_width <= 2:
            continue
        left = rng.random() * (width - crop_width)
        top = rng.random() * (height - crop_height)
        part = np.array([int(top), int(left), int(top + crop_height), int(left + crop_width)])
        overlaps = box_iou(boxes, part[None].astype(np.float32))[:, 0]
        touched = overlaps > 0
        if not touched.any():
            continue
        if rule == "zoo" and overlaps[touched].min() < min_overlap and overlaps[touched].max() > min_overlap + 0.2:
            continue
        inside = ((part[:2] < centers) & (centers < part[2:])).all(axis=1) & touched
        if not inside.any():
            continue
        origin = np.tile(part[:2], 2)
        clipped = np.clip(boxes[inside], origin, np.tile(part[2:], 2)) - origin
        if rule == "visible" and (_areas(clipped) / _areas(boxes[inside])).min() < min_overlap:
            continue
        return image[part[0]:part[2], part[1]:part[3]], clipped.astype(np.float32), np.flatnonzero(inside)
    return image, boxes, everything


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), 1e-9)


def zoom_out(image: np.ndarray, boxes: np.ndarray, largest: float, rng) -> tuple[np.ndarray, np.ndarray]:
    """The image at a random place on a canvas up to `largest` times its sides, filled with the mean colour."""
    height, width = image.shape[:2]
    ratio = 1 + (largest - 1) * rng.random()
    rows, columns = int(height * ratio), int(width * ratio)
    top, left = int(rng.random() * (rows - height)), int(rng.random() * (columns - width))
    canvas = np.empty((rows, columns, 3), np.uint8)
    canvas[:] = MEAN.round()
    canvas[top:top + height, left:left + width] = image
    return canvas, boxes + np.array([top, left, top, left], np.float32)


def adjust_color(image: np.ndarray, strengths: Sequence[float], rng) -> np.ndarray:
    """Brightness, contrast and saturation, each times a factor drawn from 1 - strength to 1 + strength."""
    brightness, contrast, saturation = (1 + strength * (2 * rng.random() - 1) for strength in strengths)
    # Brightness and contrast are one line per value (a table), the mean being that of the brightened image.
    values = np.arange(256, dtype=np.float32)
    bright = np.clip(values * brightness, 0, 255)
    mean = float(bright[np.dot(image.reshape(-1, 3)[::7], GRAY).astype(np.uint8)].mean())
    table = np.clip(contrast * bright + (1 - contrast) * mean, 0, 255).round().astype(np.uint8)
    image = cv2.LUT(image, table)
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, saturation, gray, 1 - saturation, 0)
