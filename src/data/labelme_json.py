"""LabelMe annotations, one json per image: polygons, rectangles, circles and masks (also those of X-AnyLabeling).

Format: https://github.com/wkentaro/labelme, `labelme/_label_file.py`
"""
from __future__ import annotations

import base64
import binascii
import math
import os.path
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterable, NamedTuple, Optional, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from src.data.annotation_files import (
    begins_with,
    check_below,
    existing_folder,
    images_in,
    no_split,
    read_bytes,
    unannotated,
)
from src.data.checks import EntryErrors, checked_flag, checked_integer, checked_name, checked_number
from src.data.images import MAX_PIXELS, decode_image
from src.data.records import (
    AnnotationSet,
    BadOutline,
    DataSources,
    LabelledBox,
    ReaderFinding,
    Size,
    image_ids,
    make_record,
)
from src.errors import AnnotationError, ImageError, UsageError
from src.files import parse_json
from src.printable import counted
from src.settings.schema import DataSection, without_background

SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
NO_CLASSES = ("_background_", "__ignore__")     # in the lists of labels of LabelMe's own examples
POLYGONS, WITHOUT_AREA = ("polygon", "rotation"), ("point", "points", "line", "linestrip")
CIRCLE_POINTS = 32


class _Document(NamedTuple):
    """A json file. shapes: entries that are objects each."""

    path: Path
    image_path: str
    size: Size
    shapes: list[dict]


class _Shape(NamedTuple):
    """points: (P, 2) x, y. outline: polygons, run lengths, or why there is none; empty of a rectangle."""

    label: str
    points: np.ndarray
    outline: list | dict | BadOutline
    group: Optional[int]
    difficult: bool


def read_split(data: DataSection, split: str, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """The split below labelme_root. Raises UsageError when it is missing, AnnotationError for files that make no sense.

    classes: names in label order, objects of others are left out; None takes all labels of all splits, sorted.
    Shapes of one label and group_id are one object. Points and lines are "shape_without_area" findings. A rectangle has
    no outline. An image beside them without a json file is an "unannotated_image" finding.
    """
    root = existing_folder(data.labelme_root, "labelme_root").resolve()
    paths = _split_files(root, split)
    needed = dict.fromkeys([*paths, *(_all_files(root) if classes is None else [])])
    if not data.reads_outside:
        check_below(root, needed, "labelme_root")
    errors = EntryErrors()
    documents = _read_all(needed, errors)
    names = _all_labels(root, documents.values()) if classes is None else tuple(classes)
    labels = {name: label for label, name in enumerate(names)}
    findings: list[ReaderFinding] = []
    unselected: Counter[str] = Counter()
    records, next_object_id = [], 1
    for path, image_id in zip(paths, image_ids([path.stem for path in paths])):
        document, source, objects = documents[path], _name(path, root), []
        for parts in _objects(document, source, findings, errors):
            if parts[0].label in labels:
                objects.append(_labelled(parts, labels[parts[0].label], next_object_id))
            else:
                unselected[parts[0].label] += 1
            next_object_id += 1
        records.append(make_record(_image_of(document), image_id, document.size, objects, source))
    errors.check()
    named = {os.path.normpath(record.image_path) for record in records}
    folders = dict.fromkeys(path.parent for path in paths)
    findings += unannotated(image for folder in folders for image in images_in(folder) if str(image) not in named)
    return AnnotationSet(classes=names, category_ids=tuple(range(1, len(names) + 1)),
                         records=tuple(sorted(records, key=lambda record: record.image_id)), root=root,
                         format="labelme", source=root, findings=tuple(findings), unselected=unselected)


def recognise(folder: Path) -> Optional[dict[str, str]]:
    """The settings that read the json files of a folder; None where there are none of this form."""
    first = next(iter(_json_files(folder)), None)
    return {"labelme_root": str(folder)} if first is not None and begins_with(first, rb'"shapes"\s*:') else None


def find_split(data: DataSection, split: str) -> DataSources:
    """The files of a split; raises UsageError when there is none. Without `classes` every json decides the classes."""
    root = existing_folder(data.labelme_root, "labelme_root").resolve()
    paths = [*_split_files(root, split), *(_all_files(root) if data.classes is None else [])]
    return DataSources(root.name, {_name(path, root): path for path in paths}, root)


def _split_files(root: Path, split: str) -> list[Path]:
    """The json files of a split: in a folder of its name, or all of a set without such folders for "train"."""
    looked = [root / name for name in SPLIT_NAMES[split]]
    others = [root / name for names in SPLIT_NAMES.values() for name in names]
    folder = next((place for place in looked if place.is_dir()), None)
    if folder is None and (split != "train" or any(place.is_dir() for place in others)):
        raise no_split(root, split, looked, "labelme_root")
    paths = _json_files(folder or root)
    if not paths:
        raise UsageError(f"{folder or root}: has no json file; set labelme_root")
    return paths


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))


def _all_files(root: Path) -> list[Path]:
    """Of all splits."""
    folders = [root / name for names in SPLIT_NAMES.values() for name in names]
    folders = [folder for folder in folders if folder.is_dir()] or [root]
    return [path for folder in folders for path in _json_files(folder)]


def _read_all(paths: Iterable[Path], errors: EntryErrors) -> dict[Path, _Document]:
    """The documents; raises AnnotationError, with what is in `errors` already, where one is of another form."""
    documents = {}
    for path in paths:
        try:
            documents[path] = _read(path)
        except AnnotationError as error:
            errors.add(path, error)
    errors.check()
    return documents


def _all_labels(root: Path, documents: Iterable[_Document]) -> tuple[str, ...]:
    """The labels of all shapes that have an area."""
    labels = {shape["label"] for document in documents for shape in document.shapes
              if (shape.get("shape_type") or "polygon") not in WITHOUT_AREA}
    names = tuple(without_background(sorted(labels.difference(NO_CLASSES))))
    if not names:
        raise AnnotationError(f"{root}: no json file has a shape, so there are no classes; set labelme_root or classes")
    return names


def _read(path: Path) -> _Document:
    try:
        content = parse_json(read_bytes(path))
    except ValueError as error:
        raise AnnotationError(f"is not valid json: {error}") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise AnnotationError("is not LabelMe's form, an object with 'shapes' and 'imagePath'; if it belongs to "
                              "something else, move it out of the data set's folder")
    height, width = (_field(content, key, _side) for key in ("imageHeight", "imageWidth"))
    labelled = [{**shape, "label": _field(shape, "label", _stripped)} for shape in shapes]
    return _Document(path, _field(content, "imagePath", checked_name), Size(height, width), labelled)


def _field(entry: dict, key: str, check: Callable[[Any], Any]) -> Any:
    """The checked value of a field."""
    try:
        return check(entry.get(key))
    except AnnotationError as error:
        raise AnnotationError(f"{key}: {error}") from None


def _side(value: Any) -> int:
    return 0 if value is None else checked_integer(value, 0, 2 ** 31 - 1)


def _stripped(value: Any) -> str:
    return checked_name(value.strip() if isinstance(value, str) else value)


def _image_of(document: _Document) -> Path:
    """The image that imagePath names from the json's folder, or the file of that name beside the json."""
    named = document.image_path.replace("\\", "/")
    candidates = [document.path.parent / named, document.path.parent / named.rpartition("/")[2]]
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def _objects(document: _Document, source: str, findings: list[ReaderFinding],
             errors: EntryErrors) -> list[list[_Shape]]:
    """The shapes of each object; adds points and lines to `findings`, and what makes no sense to `errors`."""
    objects: list[list[_Shape]] = []
    groups: dict[tuple, list[_Shape]] = {}
    for position, entry in enumerate(document.shapes, 1):
        label, kind = entry["label"], entry.get("shape_type") or "polygon"
        if kind in WITHOUT_AREA:
            findings.append(ReaderFinding("shape_without_area", f"{source}, shape {position}", f"{kind} '{label}'",
                                          boxes=1))
            continue
        try:
            shape = _shape(entry, label, kind, document.size)
        except AnnotationError as error:
            errors.add(f"{document.path}: shape {position} ('{label}')", error)
            continue
        key = label, shape.group
        if shape.group is not None and key in groups:
            groups[key].append(shape)
            continue
        objects.append([shape])
        groups[key] = objects[-1]
    return objects


def _shape(entry: dict, label: str, kind: str, size: Size) -> _Shape:
    points = _points(entry.get("points"))
    group = entry.get("group_id")
    group = None if group is None else checked_integer(group)
    difficult = checked_flag(entry.get("difficult") or False)
    outline: list | dict | BadOutline = []
    if kind in POLYGONS:
        outline = [points.ravel().tolist()]
        if len(points) < 3:
            outline = BadOutline(f"a polygon of {counted(len(points), 'point')}")
    elif kind == "circle" and len(points) == 2:
        points = _circle(*points)
        outline = [points.ravel().tolist()]
    elif kind == "mask" and len(points) == 2:
        outline = _mask(entry.get("mask"), points, size)
    elif kind != "rectangle" or len(points) < 2:
        raise AnnotationError(f"{counted(len(points), 'point')} of the shape_type {reprlib.repr(kind)}, which is not "
                              "known here")
    return _Shape(label, points, outline, group, difficult)


def _points(value: Any) -> np.ndarray:
    if not isinstance(value, list) or not value or not all(isinstance(p, list) and len(p) == 2 for p in value):
        raise AnnotationError(f"points: expected a list of [x, y], found {reprlib.repr(value)}")
    return np.array([[checked_number(number) for number in point] for point in value], np.float64)


def _circle(centre: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """(CIRCLE_POINTS, 2) points of a circle, among them the outermost to all four sides."""
    angles = np.arange(CIRCLE_POINTS) * (2 * math.pi / CIRCLE_POINTS)
    return centre + math.dist(centre, edge) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _mask(text: Any, corners: np.ndarray, size: Size) -> dict | BadOutline:
    """The run lengths of a mask that is stored as a PNG of the box between two corners, the last pixel included."""
    if size.height * size.width > MAX_PIXELS:
        return BadOutline(f"a mask in an image of {size}")
    try:
        decoded = decode_image(base64.b64decode(text, validate=True), "mask", orientation=1)[..., 0]
    except (binascii.Error, TypeError, ValueError, ImageError):
        return BadOutline("a mask that is no PNG image")
    height, width = decoded.shape
    left, top = np.floor(corners.min(axis=0)).astype(int).tolist()
    if not (left >= 0 and top >= 0 and left + width <= size.width and top + height <= size.height):
        return BadOutline(f"a mask of {width} x {height} pixels at {left}, {top} in an image of {size}")
    canvas = np.zeros(size, np.uint8, order="F")
    canvas[top:top + height, left:left + width] = decoded > 0
    runs = coco_mask.encode(canvas)
    return {"size": list(size), "counts": runs["counts"].decode("ascii")}


def _labelled(parts: list[_Shape], label: int, object_id: int) -> LabelledBox:
    """The object that one or more shapes make; only polygons can be put together to one outline."""
    points = np.concatenate([part.points for part in parts])
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    segment: list | dict | BadOutline = parts[0].outline
    if len(parts) > 1:
        polygons = [part.outline for part in parts if isinstance(part.outline, list) and part.outline]
        segment = [polygon for outline in polygons for polygon in outline] if len(polygons) == len(parts) else \
            BadOutline("shapes of one group of which not all are polygons")
    return LabelledBox((x1, y1, x2, y2), label, object_id, difficult=any(part.difficult for part in parts),
                       segment=segment)


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
