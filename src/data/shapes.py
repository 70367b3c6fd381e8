"""Draws a small data set, so that everything can be tried without a download (used by tools/draw_shapes.py).

Circles, rectangles and triangles, each in a third of the colour wheel, on dull backgrounds (gradient, stripes, checks
or clouds, with lines, crosses and noise that are not annotated). Sides are 25 % to 60 % of the image's shorter side.
Later shapes may cover earlier ones, but every annotated shape stays at least half visible, and no shape is drawn
without an annotation. Boxes, polygons and areas describe the whole outline, including covered parts; all lie inside the
image.
"""
from __future__ import annotations

import colorsys
import json
import os
import shutil
from pathlib import Path
from typing import Any, Iterable, NamedTuple, Optional, Union

import cv2
import numpy as np

from src.data.images import encode_jpeg
from src.errors import DatasetError, UsageError
from src.files import parse_json, read_file

CLASSES = ("circle", "rectangle", "triangle")
MIN_VISIBLE = 0.5
RELATIVE_SIZE = (0.25, 0.6)
MAX_SHAPES = 6
HUE_SPREAD = 0.13  # to either side, on a colour wheel of 1; the three classes come near each other but do not overlap
EMPTY_SHARE = 0.02
JPEG_QUALITY = 90
PLACEMENTS = 10  # tries to find a place for a shape before it is left out
FORMAT_VERSION = 3
_SUBPIXEL_BITS = 4


class Kind(NamedTuple):
    """What a set shows. shapes: least and largest number per image. relative_size: smallest and largest longer side of
    a shape, as a fraction of the image's shorter side. flattened: shapes are up to this factor narrower than high, or
    the other way round. frequencies: of the classes, None = all alike. wrong_labels: fraction of the training objects
    that are left out, misplaced by a fifth of their size, or of another class, a third each.
    """

    shapes: tuple[int, int] = (1, MAX_SHAPES)
    relative_size: tuple[float, float] = RELATIVE_SIZE
    flattened: float = 1.0
    frequencies: Optional[tuple[float, ...]] = None
    wrong_labels: float = 0.0


KINDS = {
    "shapes": Kind(),
    "large": Kind(shapes=(1, 1), relative_size=(0.3, 0.95)),
    "tiny": Kind(shapes=(5, 20), relative_size=(0.04, 0.08)),
    "elongated": Kind(flattened=5.0),
    "unbalanced": Kind(frequencies=(0.8, 0.12, 0.08)),
    "crowded": Kind(shapes=(15, 30), relative_size=(0.1, 0.25)),
    "noisy": Kind(wrong_labels=0.2),
}


def draw_shapes(folder: Union[str, Path], train: int = 400, val: int = 100, size: tuple[int, int] = (240, 180),
                seed: int = 1, kind: str = "shapes") -> bool:
    """Write <folder>/{train,val}2017/*.jpg and <folder>/annotations/instances_{train,val}2017.json (COCO form).

    size: (width, height) in pixels; image sizes vary around it by a sixth. kind: a row of KINDS.
    Returns True if the set was drawn, False if it exists already. The same arguments give the same images.
    Raises UsageError for invalid arguments and for a folder with other content, DatasetError if it cannot be
    written.
    """
    folder = Path(folder).resolve()
    if train < 1 or val < 1:
        raise UsageError(f"train {train}, val {val}: each needs at least one image")
    if not all(48 <= side <= 4096 for side in size):
        raise UsageError(f"size {size[0]} x {size[1]}: sides of 48 to 4096 pixels are possible")
    if seed < 0:
        raise UsageError(f"seed {seed}: must not be negative")
    if kind not in KINDS:
        raise UsageError(f"kind {kind}: there are {', '.join(KINDS)}")
    settings = {"version": FORMAT_VERSION, "train": train, "val": val, "size": list(size), "seed": seed,
                **({"kind": kind} if kind != "shapes" else {})}
    try:
        if _holds_the_same(folder, settings):
            return False
        _write_set(folder, settings)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written: {error.strerror}") from error
    return True


def draw_image(size: tuple[int, int], rng: np.random.Generator,
               kind: Kind = KINDS["shapes"]) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """One image and its objects: (H, W, 3) uint8 RGB, list of (class index, (K, 2) float64 outline)."""
    width, height = (int(side * rng.uniform(5 / 6, 7 / 6)) for side in size)
    image = _background(width, height, rng)
    objects: list[tuple[int, np.ndarray]] = []
    visible: list[tuple[np.ndarray, int]] = []
    least, most = kind.shapes
    for _ in range(0 if rng.random() < EMPTY_SHARE else rng.integers(least, most + 1)):
        for _ in range(PLACEMENTS):
            label = int(rng.integers(len(CLASSES)) if kind.frequencies is None
                        else rng.choice(len(CLASSES), p=kind.frequencies))
            outline = _unit_outline(label, rng)
            if kind.flattened > 1:
                outline = outline / np.where(rng.permutation([True, False]), rng.uniform(1, kind.flattened), 1.0)
            outline = _place(outline, width, height, rng, kind.relative_size)
            mask = np.zeros((height, width), np.uint8)
            _fill(mask, outline, 1)
            remaining = [(part & (1 - mask), area) for part, area in visible]
            if all(part.sum() >= MIN_VISIBLE * area for part, area in remaining):
                _paint(image, outline, label, rng)
                visible = remaining + [(mask, mask.sum())]
                objects.append((label, outline))
                break
    noise = rng.normal(0, rng.uniform(2, 10), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), objects


def _background(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """A gradient, a pattern on it, and clutter, all in dull colours."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    period = rng.uniform(8, 40)
    stripes, rows = np.sin(along * 2 * np.pi / period) > 0, np.sin(across * 2 * np.pi / period) > 0
    grid = rng.random((int(rng.integers(4, 12)), int(rng.integers(4, 12)))).astype(np.float32)
    pattern = (np.zeros_like(x), stripes, stripes ^ rows,
               cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC))[rng.integers(4)]
    ramp = (along - along.min()) / (along.max() - along.min())
    start, end, tint = (_dull_colour(rng) for _ in range(3))
    image = start + ramp[..., None] * (end - start)
    image += rng.uniform(0.15, 0.6) * pattern[..., None].astype(np.float32) * (tint - image)
    image = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(4, 16)):
        _draw_clutter(image, rng)
    return image


def _draw_clutter(image: np.ndarray, rng: np.random.Generator) -> None:
    """A line, a cross or a zigzag."""
    height, width = image.shape[:2]
    centre = rng.uniform(0, 1, 2) * (width, height)
    reach = rng.uniform(0.05, 0.3) * min(width, height)
    steps = rng.uniform(-reach, reach, (5, 2))
    line = np.stack([-steps[0], steps[0]])
    strokes = ([line], [line, line[:, ::-1] * (1, -1)], [steps])[rng.integers(3)]
    cv2.polylines(image, [_fixed_point(centre + stroke) for stroke in strokes], False,
                  _dull_colour(rng).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA, _SUBPIXEL_BITS)


def _unit_outline(label: int, rng: np.random.Generator) -> np.ndarray:
    """(K, 2) outline of any scale: a circle, or a rotated rectangle or triangle."""
    if CLASSES[label] == "circle":
        angles = np.arange(48) * (2 * np.pi / 48)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if CLASSES[label] == "rectangle":
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (rng.uniform(0.5, 1), 1)
        angle = rng.choice([0, np.pi / 2]) + rng.uniform(-0.3, 0.3)
    else:
        angles = np.arange(3) * (2 * np.pi / 3) + rng.uniform(-0.2, 0.2, 3)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return points @ turn


def _place(outline: np.ndarray, width: int, height: int, rng: np.random.Generator,
           relative_size: tuple[float, float]) -> np.ndarray:
    """The outline, scaled to a random fraction of the image's shorter side and placed in the image."""
    longer_side = rng.uniform(*relative_size) * min(width, height)
    low, high = outline.min(axis=0), outline.max(axis=0)
    outline = (outline - low) * (longer_side / (high - low).max())
    return outline + rng.uniform(1, (width, height) - outline.max(axis=0) - 1)


def _paint(image: np.ndarray, outline: np.ndarray, label: int, rng: np.random.Generator) -> None:
    """A saturated fill with a rim of the same hue, darker or lighter.

    Each class keeps to its part of the colour wheel: a randomly initialised detector finds shapes within minutes
    on a CPU, but takes far longer to tell them apart by their outline alone.
    """
    hue, value = (label / len(CLASSES) + rng.uniform(-HUE_SPREAD, HUE_SPREAD)) % 1, rng.uniform(0.65, 1)
    fill = _colour(hue, rng.uniform(0.75, 1), value)
    rim = _colour(hue, 0.9, value * 0.5) if rng.random() < 0.6 else _colour(hue, 0.25, 1)
    _fill(image, outline, fill.tolist(), cv2.LINE_AA)
    cv2.polylines(image, [_fixed_point(outline)], True, rim.tolist(), 2, cv2.LINE_AA, _SUBPIXEL_BITS)


def _fill(image: np.ndarray, outline: np.ndarray, colour: Any, line_type: int = cv2.LINE_8) -> None:
    cv2.fillPoly(image, [_fixed_point(outline)], colour, line_type, _SUBPIXEL_BITS)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    # Whole numbers are the centre of a pixel for cv2, and its corner for COCO.
    return np.round((points - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value)) * 255


def _dull_colour(rng: np.random.Generator) -> np.ndarray:
    return _colour(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.2, 0.9))


def _holds_the_same(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether the set exists already; settings.json is written last and therefore marks a complete set."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = parse_json(read_file(folder / "settings.json"))
    except (OSError, ValueError):
        raise UsageError(f"{folder}: exists and holds something else; choose another folder") from None
    if found != settings:
        raise UsageError(f"{folder}: holds a set drawn with {found}, not {settings}; choose another folder, or remove "
                         "this one")
    return True


def _write_set(folder: Path, settings: dict[str, Any]) -> None:
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.unfinished")
    try:
        (unfinished / "annotations").mkdir(parents=True)
        first_id = 1
        for split in ("train", "val"):
            ids = range(first_id, first_id + settings[split])
            _write_split(unfinished, f"{split}2017", ids, settings)
            first_id = ids.stop
        (unfinished / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        if folder.exists():
            folder.rmdir()  # remove the empty folder, because only Linux can rename onto it
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_split(folder: Path, name: str, image_ids: Iterable[int], settings: dict[str, Any]) -> None:
    (folder / name).mkdir()
    kind = KINDS[settings.get("kind", "shapes")]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in image_ids:
        rng = np.random.default_rng([settings["seed"], image_id])
        image, objects = draw_image(settings["size"], rng, kind)
        if kind.wrong_labels and name.startswith("train"):
            objects = [wrong for found in objects
                       if (wrong := _wrongly_labelled(found, image, kind.wrong_labels, rng))]
        file_name = f"{image_id:012d}.jpg"
        (folder / name / file_name).write_bytes(encode_jpeg(image, JPEG_QUALITY))
        images.append({"id": image_id, "file_name": file_name, "height": image.shape[0], "width": image.shape[1]})
        for label, outline in objects:
            x, y = outline.min(axis=0)
            width, height = np.ptp(outline, axis=0)
            annotations.append({"id": len(annotations) + 1, "image_id": image_id,
                                "category_id": label + 1, "iscrowd": 0,
                                "bbox": np.round([x, y, width, height], 2).tolist(), "area": _area(outline),
                                "segmentation": [np.round(outline, 2).ravel().tolist()]})
    categories = [{"id": label + 1, "name": shape} for label, shape in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = folder / "annotations" / f"instances_{name}.json"
    path.write_text(json.dumps(content), encoding="utf-8")


def _wrongly_labelled(found: tuple[int, np.ndarray], image: np.ndarray, share: float,
                      rng: np.random.Generator) -> Optional[tuple[int, np.ndarray]]:
    """The object as a careless labeller would have it: mostly as it is, else None, misplaced, or of another class."""
    label, outline = found
    if rng.random() >= share:
        return found
    fault = rng.integers(3)
    if fault == 0:
        return None
    if fault == 1:
        return (label + int(rng.integers(1, len(CLASSES)))) % len(CLASSES), outline
    shift = rng.choice([-0.2, 0.2], 2) * np.ptp(outline, axis=0)
    return label, np.clip(outline + shift, 0, image.shape[1::-1])


def _area(outline: np.ndarray) -> float:
    """Shoelace formula."""
    x, y = outline.T
    return round(float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2, 2)
