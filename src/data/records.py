"""The one in-memory form of annotations, and what the readers of COCO, VOC and TXT share."""
from __future__ import annotations

import os.path
import re
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from src.errors import AnnotationError, UsageError

MAX_FILE_BYTES = 2 << 30
# No coordinate, size or area of a picture comes near it; below it nothing overflows in float32.
MAX_NUMBER = 1e12


@dataclass(frozen=True)
class Record:
    """One picture and its objects.

    image_path: absolute; `inside` tells whether it really lies in the set's root, nothing else may open it before.
    image_id: 0 or larger.
    height, width: in pixels as the annotation declares them, 0 when it does not.
    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the original image, x2 = x1 + width.
    labels: (N,) int32, 0-based index into `AnnotationSet.classes`.
    crowd: (N,) bool, COCO iscrowd.
    difficult: (N,) bool, VOC difficult.
    areas: (N,) float32, COCO area when given, else the area of the box.
    segments: one entry per object, a list of polygons (x, y, x, y, ...), a COCO RLE or an empty list;
        None when no object of the picture has an outline.
    object_ids: (N,) COCO annotation ids; for VOC and TXT running numbers over the set, from 1.
    source: where it was read, for messages: "instances.json", "img.xml", "train.txt:17".
    """

    image_path: Path
    image_id: int
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray
    segments: Optional[tuple]
    object_ids: tuple
    source: str


class Problem(NamedTuple):
    """A reference that no Record can hold, and what of the annotations is therefore missing from the records.

    kind: "unknown_image", "unknown_class", "duplicate_image_id" (the first is kept) or "duplicate_annotation_id" (both
        objects are kept).
    """

    kind: str
    source: str
    value: object
    images: int = 0
    boxes: int = 0


@dataclass(frozen=True)
class AnnotationSet:
    """The annotations of one split.

    classes: names in label order, without the background.
    category_ids: the original id of each label; label + 1 for VOC and TXT.
    records: of Record, sorted by image id.
    root: the folder in which all image paths ought to lie.
    kind: "coco", "voc" or "txt".
    source: annotation file or folder.
    problems: of Problem.
    unselected: number of objects per class name that the annotations have and `classes` leaves out.
    """

    classes: tuple
    category_ids: tuple
    records: tuple
    root: Path
    kind: str
    source: Path
    problems: tuple = ()
    unselected: dict = field(default_factory=dict)


class LabelledBox(NamedTuple):
    """One object on its way into a Record."""

    box: tuple
    label: int
    object_id: int
    crowd: bool = False
    difficult: bool = False
    area: Optional[float] = None
    segment: object = ()


def make_record(image_path, image_id, size, objects, source) -> Record:
    """A Record of a list of LabelledBox; size is (height, width)."""
    boxes = np.array([item.box for item in objects], np.float32).reshape(-1, 4)
    extent = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas = [box_area if item.area is None else item.area for item, box_area in zip(objects, extent.prod(axis=1))]
    segments = tuple(item.segment or [] for item in objects)
    return Record(image_path=image_path, image_id=image_id, height=size[0], width=size[1], boxes=boxes,
                  labels=np.array([item.label for item in objects], np.int32),
                  crowd=np.array([item.crowd for item in objects], bool),
                  difficult=np.array([item.difficult for item in objects], bool),
                  areas=np.array(areas, np.float32), segments=segments if any(segments) else None,
                  object_ids=tuple(item.object_id for item in objects), source=source)


def inside(root, path) -> bool:
    """Whether path, with links and '..' resolved, lies below root."""
    try:
        return Path(root).resolve() in Path(path).resolve().parents
    except (OSError, RuntimeError, ValueError):  # links in a circle, names the file system cannot hold
        return False


def image_ids(stems) -> list:
    """Image ids for formats without ids: the digits that end each file stem, or else running numbers from 1.

    The digits are taken only when every stem of the split has them and no two agree, so that an id names one
    picture. Running numbers follow the order given (VOC: sorted names, TXT: rows).
    """
    endings = [re.search(r"[0-9]{1,18}$", stem) for stem in stems]
    if all(endings):
        numbers = [int(ending.group()) for ending in endings]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(stems) + 1))


def read_bytes(path, max_bytes=MAX_FILE_BYTES) -> bytes:
    """The content of an annotation file. Raises UsageError when there is none, AnnotationError when unreadable."""
    if not os.path.isfile(path):  # unlike Path.is_file it answers "no" to names that are too long
        raise UsageError(f"{path}: no such file")
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise AnnotationError(f"{path}: {size} bytes are more than the {max_bytes} that are accepted; "
                                  "split the annotations")
        return path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(path) -> list:
    """(line number, text) of the lines of a UTF-8 file that are not blank."""
    try:
        content = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return [(number, line.strip()) for number, line in enumerate(content.split("\n"), 1) if line.strip()]


# The checks below know the value only; the readers put file and id in front of the message.

def checked_number(value) -> float:
    """value, when it is a finite number of a size that occurs in pictures."""
    if type(value) not in (int, float) or not -MAX_NUMBER < value < MAX_NUMBER:
        raise AnnotationError(f"expected a finite number, found {reprlib.repr(value)}")
    return value


def checked_integer(value, minimum=0, maximum=2 ** 63 - 1) -> int:
    """value as int, when it is a whole number within the limits (1.0 counts as 1)."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not minimum <= value <= maximum:
        raise AnnotationError(f"expected a whole number between {minimum} and {maximum}, "
                              f"found {reprlib.repr(value)}")
    return value


def checked_flag(value) -> bool:
    """value as bool, when it is 0, 1, false or true."""
    if type(value) not in (int, float, bool) or value not in (0, 1):
        raise AnnotationError(f"expected 0 or 1, found {reprlib.repr(value)}")
    return bool(value)


def checked_name(value) -> str:
    """value, when it is a text that can name a file or a class."""
    try:
        if isinstance(value, str) and value and "\0" not in value and value.encode("utf-8"):
            return value
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise AnnotationError(f"expected a name, found {reprlib.repr(value)}")


def number_in(text) -> float:
    """The number that a piece of text spells."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise AnnotationError(f"expected a number, found {reprlib.repr(text)}") from None
    return checked_number(value)
