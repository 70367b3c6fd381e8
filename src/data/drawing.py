"""Draws boxes with names, masks and contact sheets. Images are (H, W, 3) uint8 RGB."""
from __future__ import annotations

import math
from typing import Optional, Sequence

import cv2
import numpy as np

from src.data.fonts import Text, drawable_names
from src.ops.masks import bitmap

# Neighbouring indices are far apart in hue and lightness, so that the first classes of any data set differ clearly.
PALETTE = np.array([
    (230, 25, 75), (0, 130, 200), (255, 225, 25), (60, 180, 75), (145, 30, 180), (245, 130, 48), (70, 240, 240),
    (240, 50, 230), (0, 128, 128), (210, 245, 60), (128, 0, 0), (0, 0, 128), (250, 190, 212), (128, 128, 0),
    (170, 110, 40), (220, 190, 255), (170, 255, 195), (255, 215, 180), (90, 90, 90), (255, 250, 200),
], dtype=np.uint8)
SHADES = (1.0, 0.8, 0.6, 0.45)  # 20 hues in 4 shades distinguish the 80 classes of COCO
MASK_OPACITY = 0.4
BACKGROUND = 245
GAP = 6
CAPTION_HEIGHT = 22
CAPTION_SIZE = 13
TAG_MARGIN = 2
SUBPIXEL_BITS = 4

Colour = tuple[int, int, int]             # RGB
Place = tuple[int, int, int, int]         # left, top, right, bottom in pixels


def class_colour(label: int) -> Colour:
    """The RGB colour of a class index, the same in every image of the project."""
    shade = SHADES[label // len(PALETTE) % len(SHADES)]
    red, green, blue = (int(channel * shade) for channel in PALETTE[label % len(PALETTE)])
    return red, green, blue


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, classes: Sequence[str],
               scores: Optional[np.ndarray] = None, masks: Optional[Sequence[Optional[np.ndarray]]] = None,
               crowd: Optional[np.ndarray] = None) -> np.ndarray:
    """A copy of the image with boxes, names, scores and masks drawn on it.

    image: (H, W, 3) uint8 RGB. boxes: (N, 4) x1, y1, x2, y2 in pixels of the image; parts outside are not drawn.
    labels: (N,) indices into `classes`. scores: (N,) or None. crowd: (N,) bool or None.
    masks: per box a (H, W) bool array, a COCO run-length encoding, a list of polygons, or None.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round(max(height, width) / 300))
    boxes = np.nan_to_num(np.asarray(boxes, dtype=np.float64).reshape(-1, 4)).clip(0, (width, height, width, height))
    names = drawable_names(classes)
    # The highest score is drawn last, on top of the others; without scores the smallest box.
    order = np.argsort(np.asarray(scores) if scores is not None else -np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
                       kind="stable")
    if masks is not None:
        for i in order:
            _paint_mask(canvas, masks[i], class_colour(int(labels[i])))
    for i in order:
        _draw_outline(canvas, boxes[i], class_colour(int(labels[i])), thickness)
    size, tags = max(11, round(max(height, width) / 55)), []
    taken: list[Place] = []
    for i in order[::-1]:
        text = names[int(labels[i])]
        if scores is not None:
            text += f" {scores[i]:.2f}"
        if crowd is not None and crowd[i]:
            text += " (crowd)"
        tag = Text(text, size)
        taken.append(_tag_place(boxes[i], tag, thickness, taken, (height, width)))
        tags.append((tag, class_colour(int(labels[i]))))
    for place, (tag, colour) in zip(taken[::-1], tags[::-1]):
        _draw_tag(canvas, place, tag, colour)
    return canvas


def contact_sheet(images: Sequence[np.ndarray], columns: int, cell: tuple[int, int] = (240, 320),
                  captions: Optional[Sequence[str]] = None) -> np.ndarray:
    """One image that shows many, row by row, each fitted into a cell of (height, width) pixels.

    captions: one line of text per image, written below it, or None.
    Returns (rows * (cell height + GAP [+ CAPTION_HEIGHT]) + GAP, columns * (cell width + GAP) + GAP, 3) uint8 RGB.
    """
    rows = math.ceil(len(images) / columns)
    row_height = cell[0] + GAP + (CAPTION_HEIGHT if captions is not None else 0)
    sheet = np.full((rows * row_height + GAP, columns * (cell[1] + GAP) + GAP, 3), BACKGROUND, dtype=np.uint8)
    for i, image in enumerate(images):
        fitted, _ = fit(image, cell)
        top = GAP + i // columns * row_height
        left = GAP + i % columns * (cell[1] + GAP)
        y = top + (cell[0] - fitted.shape[0]) // 2
        x = left + (cell[1] - fitted.shape[1]) // 2
        sheet[y:y + fitted.shape[0], x:x + fitted.shape[1]] = fitted
        if captions is not None:
            strip = sheet[top + cell[0]:top + cell[0] + CAPTION_HEIGHT, left:left + cell[1]]
            Text(captions[i], CAPTION_SIZE).draw(strip, 2, 2, (40, 40, 40))
    return sheet


def fit(image: np.ndarray, cell: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """The image resized, with its aspect ratio, to the largest size that fits into (height, width).

    Returns the image and the factors (x, y) from its old pixels to the new ones.
    """
    height, width = image.shape[:2]
    scale = min(cell[0] / height, cell[1] / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=interpolation), (size[0] / width, size[1] / height)


def _draw_outline(canvas: np.ndarray, box: np.ndarray, colour: Colour, thickness: int) -> None:
    # OpenCV's (0, 0) is the centre of the first pixel; in boxes it is the pixel's corner.
    x1, y1, x2, y2 = (int(v) for v in np.round((box - 0.5) * (1 << SUBPIXEL_BITS)))
    cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA, SUBPIXEL_BITS)


def _tag_place(box: np.ndarray, tag: Text, thickness: int, taken: Sequence[Place], size: tuple[int, int]) -> Place:
    """The (left, top, right, bottom) of a name: above its box, inside it, or below it; the first place inside the image
    that hides no name in `taken`, or else the first inside the image."""
    (height, width), tag_width, tag_height = size, tag.width + 2 * TAG_MARGIN, tag.height
    left = int(np.clip(box[0] - thickness / 2, 0, max(0, width - tag_width)))
    above = int(box[1]) - tag_height
    tops = [top for top in (above, int(box[1]), int(box[3])) if 0 <= top <= height - tag_height]
    places = [(left, top, left + tag_width, top + tag_height) for top in tops or [max(0, min(above, height))]]
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), places[0])


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_tag(canvas: np.ndarray, place: Place, tag: Text, colour: Colour) -> None:
    """The name on a filled background."""
    left, top, right, bottom = place
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, cv2.FILLED)
    luminance = np.dot(colour, (0.299, 0.587, 0.114))
    tag.draw(canvas, left + TAG_MARGIN, top, (0, 0, 0) if luminance > 128 else (255, 255, 255))


def _paint_mask(canvas: np.ndarray, mask: Optional[np.ndarray], colour: Colour) -> None:
    if mask is None:
        return
    inside = mask.astype(bool) if isinstance(mask, np.ndarray) else bitmap(mask, *canvas.shape[:2]).astype(bool)
    canvas[inside] = np.round((1 - MASK_OPACITY) * canvas[inside] + MASK_OPACITY * np.array(colour)).astype(np.uint8)

