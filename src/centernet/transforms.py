"""Sample -> network input of CenterNet (section 4 and appendix of the paper, the authors' code), in numpy.

The network sees blue, green, red. Images stay uint8 until the device normalises them.
"""
from __future__ import annotations

from typing import NamedTuple, Sequence

import cv2
import numpy as np

from src.centernet.targets import TargetEncoder

CROP_SCALES = np.arange(0.6, 1.4, 0.1)  # of the longer side
CROP_BORDER = 128                       # pixels that a random centre keeps from the border, where there is room
COLOR_CHANGE = 0.4                      # largest change of brightness, contrast, saturation
LIGHTING = 0.1                          # deviation of the eigenvalues' factors
GRAY = np.array([0.114, 0.587, 0.299])  # of blue, green, red


class Window(NamedTuple):
    """The part of an image that the network sees: a square around a centre, stretched to the input's width."""

    center: np.ndarray  # (2,) x, y in pixels
    side: float         # width in pixels

    def matrix(self, size: Sequence[int]) -> np.ndarray:
        """(2, 3): pixels x, y of the image -> pixels of a (height, width) view of the window."""
        height, width = size
        factor = width / self.side
        return np.array([[factor, 0, width / 2 - factor * self.center[0]],
                         [0, factor, height / 2 - factor * self.center[1]]])

    def cut(self, image: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """What it shows, black outside of the image, as (height, width, 3)."""
        return cv2.warpAffine(image, self.matrix(size), (size[1], size[0]), flags=cv2.INTER_LINEAR)


class TrainTransform:
    """Crop, flip and colour of one image, and its targets; crowds are ignored.

    input_size: network input, height, width. encoder: for maps of a quarter of it. lighting: eigenvalues (3,) and
    eigenvectors (3, 3) of the colours, None = no change of colours.
    Returns "image" (H, W, 3) uint8 BGR and the fields of Targets.
    """

    def __init__(self, input_size: Sequence[int], encoder: TargetEncoder, *, rand_crop: bool = True,
                 shift: float = 0.1, scale: float = 0.4, flip_prob: float = 0.5, lighting: tuple | None = None):
        self.input_size = tuple(input_size)
        self.encoder = encoder
        self.rand_crop = rand_crop
        self.shift = shift
        self.scale = scale
        self.flip_prob = flip_prob
        self.lighting = lighting

    def __call__(self, image: np.ndarray, target: dict, rng: np.random.Generator) -> dict:
        real = ~target["crowd"]
        boxes, labels = target["boxes"][real].astype(np.float32), target["labels"][real]
        height, width = image.shape[:2]
        window = random_window(height, width, rng) if self.rand_crop else \
            shifted_window(height, width, self.shift, self.scale, rng)
        if rng.random() < self.flip_prob:
            image, boxes, window = flip(image, boxes, window)
        image = cv2.cvtColor(window.cut(image, self.input_size), cv2.COLOR_RGB2BGR)
        if self.lighting is not None:
            eigenvalues, eigenvectors = self.lighting
            image = adjust_color(image, eigenvalues, eigenvectors, rng)
        factor_x, _, left, _, factor_y, top = window.matrix((self.encoder.height, self.encoder.width)).ravel()
        boxes = boxes * [factor_x, factor_y, factor_x, factor_y] + [left, top, left, top]
        return {"image": image, **self.encoder(boxes, labels)._asdict()}


def random_window(height: int, width: int, rng) -> Window:
    """Scale and centre drawn freely."""
    side = max(height, width) * rng.choice(CROP_SCALES)
    x, y = (rng.integers(border, length - border) for length, border in ((width, _border(width)),
                                                                        (height, _border(height))))
    return Window(np.array([x, y], float), float(side))


def shifted_window(height: int, width: int, shift: float, scale: float, rng) -> Window:
    """The whole image, shifted and scaled by normal deviates of which the far ones are cut off."""
    side = max(height, width)
    center = np.array([width / 2, height / 2]) + side * np.clip(rng.normal(0, shift, 2), -2 * shift, 2 * shift)
    return Window(center, float(side * np.clip(rng.normal(1, scale), 1 - scale, 1 + scale)))


def flip(image: np.ndarray, boxes: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray, Window]:
    """Image, boxes and window mirrored; pixel centres are whole numbers, so x becomes width - 1 - x."""
    last = image.shape[1] - 1
    boxes = np.stack([last - boxes[:, 2], boxes[:, 1], last - boxes[:, 0], boxes[:, 3]], axis=1)
    return cv2.flip(image, 1), boxes, Window(np.array([last - window.center[0], window.center[1]]), window.side)


def adjust_color(image: np.ndarray, eigenvalues: np.ndarray, eigenvectors: np.ndarray, rng) -> np.ndarray:
    """Brightness, contrast and saturation in random order, then lighting along the colours' main axes.

    Each is linear in the colours of a pixel, so all of them are one matrix (3, 4).
    """
    mean_gray = float(cv2.mean(image)[:3] @ GRAY)
    matrix, shift = np.eye(3), np.zeros(3)
    for change in rng.permutation(["brightness", "contrast", "saturation"]):
        amount = 1 + rng.uniform(-COLOR_CHANGE, COLOR_CHANGE)
        matrix, shift = matrix * amount, shift * amount
        if change == "contrast":
            shift = shift + (1 - amount) * mean_gray
        elif change == "saturation":
            matrix = matrix + (1 - amount) * GRAY
    shift = shift + 255 * eigenvectors @ (eigenvalues * rng.normal(0, LIGHTING, 3))
    return cv2.transform(image, np.column_stack([matrix, shift]))


def normalize(image: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (3, H, W) float32; mean and std in grey levels."""
    return np.ascontiguousarray(((image.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def scaled(height: int, width: int, scale: float) -> tuple[int, int]:
    """Sides of an image that is seen at another scale, rounded down."""
    return max(1, int(height * scale)), max(1, int(width * scale))


def padded_window(height: int, width: int, multiple: int = 128) -> tuple[Window, tuple[int, int]]:
    """(Window, (height, width)) of the input that keeps the resolution.

    Sides grow to a multiple, those that are one already by as much (the authors' rule).
    """
    size = (height // multiple + 1) * multiple, (width // multiple + 1) * multiple
    return Window(np.array([width // 2, height // 2], float), float(size[1])), size


def _border(length: int) -> int:
    """CROP_BORDER, halved until it leaves room between both ends."""
    border = CROP_BORDER
    while length <= 2 * border:
        border //= 2
    return border
