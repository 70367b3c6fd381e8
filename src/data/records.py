"""The in-memory form of annotations."""
from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, Union

import numpy as np


class Size(NamedTuple):
    """Size of an image in pixels; 0 if the annotation declares none."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


class BadOutline(str):
    """An invalid segmentation, as text; it matters only for models with masks."""


@dataclass(frozen=True)
class Record:
    """One image and its objects.

    image_path: absolute; it may be opened only after `inside` has checked that it lies in the data set's root.
    image_id: 0 or larger.
    height, width: in pixels, as declared in the annotation; 0 if it declares none.
    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the original image, x2 = x1 + width.
    labels: (N,) int32, 0-based index into `AnnotationSet.classes`.
    crowd: (N,) bool, COCO iscrowd.
    difficult: (N,) bool, VOC difficult.
    areas: (N,) float32, COCO area if given, else the area of the box.
    segments: one entry per object, a list of polygons (x, y, x, y, ...), a COCO RLE, an empty list or,
        before the audit, a BadOutline; None when no object of the image has an outline.
    object_ids: (N,) COCO annotation ids; in other formats running numbers over the set, from 1.
    source: file and line for messages: "instances.json", "img.xml", "train.txt:17".
    orientation: EXIF orientation to apply to the stored image so that the boxes fit; 1 = none.
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
    object_ids: tuple[int, ...]
    source: str
    orientation: int = 1

    @property
    def accepted_pixels(self) -> Optional[int]:
        """The pixels of the image as the audit has accepted them: one that has more is not the one that was audited.
        None, for the reader's own limit, where the annotation declares no size and there was no audit."""
        return self.height * self.width or None


class ReaderFinding(NamedTuple):
    """A finding of a reader: something that no Record can represent, and what the records lack because of it.

    kind: "unknown_image", "unknown_class", "shape_without_area", "unannotated_image", "duplicate_image_id" (the first
        is kept), "duplicate_annotation_id" (both objects are kept) or "rotated_box" (the upright box is kept).
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
    category_ids: the original id of each label; label + 1 where the format has names only.
    records: of Record, sorted by image id.
    root: the folder that should contain all images.
    format: name in settings.data_formats.DATA_FORMATS.
    source: annotation file or folder.
    findings: what the reader could not represent in records.
    unselected: number of objects of each class that is in the annotations but not in `classes`.
    """

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[Record, ...]
    root: Path
    format: str
    source: Path
    findings: tuple[ReaderFinding, ...] = ()
    unselected: dict[str, int] = field(default_factory=dict)


class DataSources(NamedTuple):
    """The files behind a split, found without reading them.

    name: short name of the data set. annotation_files: by a name that does not depend on where the data set lies.
    image_root: `AnnotationSet.root` of the split. images: names of the images, where no annotation file lists them.
    """

    name: str
    annotation_files: dict[str, Path]
    image_root: Path
    images: tuple[str, ...] = ()


class LabelledBox(NamedTuple):
    """One object before it becomes part of a Record. box: x1, y1, x2, y2."""

    box: tuple[float, float, float, float]
    label: int
    object_id: int
    crowd: bool = False
    difficult: bool = False
    area: Optional[float] = None
    segment: Union[list, dict, tuple, BadOutline] = ()


def make_record(image_path: Path, image_id: int, size: Size, objects: Sequence[LabelledBox], source: str) -> Record:
    """Make a Record from labelled boxes."""
    height, width = size
    boxes = np.array([item.box for item in objects], np.float32).reshape(-1, 4)
    extent = np.abs(boxes[:, 2:] - boxes[:, :2])  # absolute, because corners may be swapped
    areas = [box_area if item.area is None else item.area for item, box_area in zip(objects, extent.prod(axis=1))]
    segments = tuple(item.segment or [] for item in objects)
    return Record(image_path=image_path, image_id=image_id, height=height, width=width, boxes=boxes,
                  labels=np.array([item.label for item in objects], np.int32),
                  crowd=np.array([item.crowd for item in objects], bool),
                  difficult=np.array([item.difficult for item in objects], bool),
                  areas=np.array(areas, np.float32), segments=segments if any(segments) else None,
                  object_ids=tuple(item.object_id for item in objects), source=source)


def select_objects(record: Record, keep: np.ndarray) -> Record:
    """The record with the objects for which `keep`, (N,) bool, is true."""
    indices = np.flatnonzero(keep)
    arrays = {name: getattr(record, name)[keep] for name in ("boxes", "labels", "crowd", "difficult", "areas")}
    return replace(record, **arrays, segments=record.segments and tuple(record.segments[i] for i in indices),
                   object_ids=tuple(record.object_ids[i] for i in indices))


def upright(box: tuple[float, float, float, float], degrees: float) -> tuple[float, float, float, float]:
    """The smallest upright box x1, y1, x2, y2 around a box that is turned about its centre."""
    x1, y1, x2, y2 = box
    cosine, sine = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = (x2 - x1) * cosine + (y2 - y1) * sine, (x2 - x1) * sine + (y2 - y1) * cosine
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def inside(root: Path, path: Path) -> bool:
    """Whether path, with links and '..' resolved, lies below root."""
    try:
        return Path(root).resolve() in Path(path).resolve().parents
    except (OSError, RuntimeError, ValueError):  # circular links, names that the file system cannot hold
        return False


def image_ids(stems: Sequence[str]) -> list[int]:
    """Image ids for formats without ids: the digits at the end of each file stem, or else numbers from 1.

    The digits are used only if every stem of the split has them and all differ, so that an id names one image.
    Otherwise numbers follow the given order (VOC: sorted names, TXT: rows).
    """
    endings = [re.search(r"[0-9]{1,18}$", stem) for stem in stems]
    numbers = [int(ending.group()) for ending in endings if ending]
    if len(set(numbers)) == len(stems):
        return numbers
    return list(range(1, len(stems) + 1))
