"""The one in-memory form of annotations."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Optional, Sequence, Union

import numpy as np


class Size(NamedTuple):
    """Of an image, in pixels; 0 where nothing declares it."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


class BadOutline(str):
    """A segmentation that no outline can be made of, as text; only models with masks need it."""


@dataclass(frozen=True)
class Record:
    """One image and its objects.

    image_path: absolute; `inside` tells whether it really lies in the set's root, nothing else may open it before.
    image_id: 0 or larger.
    height, width: in pixels as the annotation declares them, 0 when it does not.
    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the original image, x2 = x1 + width.
    labels: (N,) int32, 0-based index into `AnnotationSet.classes`.
    crowd: (N,) bool, COCO iscrowd.
    difficult: (N,) bool, VOC difficult.
    areas: (N,) float32, COCO area when given, else the area of the box.
    segments: one entry per object, a list of polygons (x, y, x, y, ...), a COCO RLE, an empty list or,
        before the audit, a BadOutline; None when no object of the image has an outline.
    object_ids: (N,) COCO annotation ids; in other formats running numbers over the set, from 1.
    source: where it was read, for messages: "instances.json", "img.xml", "train.txt:17".
    orientation: EXIF orientation by which the stored image is turned to be the one of the boxes; 1 leaves it as it is.
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


class ReaderFinding(NamedTuple):
    """A finding of a reader: a reference that no Record can hold, and what is therefore missing from the records.

    kind: "unknown_image", "unknown_class", "shape_without_area", "duplicate_image_id" (the first is kept) or
        "duplicate_annotation_id" (both objects are kept).
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
    root: the folder in which all image paths ought to lie.
    format: name in settings.data_formats.DATA_FORMATS.
    source: annotation file or folder.
    findings: what the reader could not put into records.
    unselected: number of objects per class name that the annotations have and `classes` leaves out.
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

    name: short name of the data set. annotation_files: by the name that they have wherever the data set lies.
    image_root: `AnnotationSet.root` of the split. images: names of the images, where no annotation file lists them.
    """

    name: str
    annotation_files: dict[str, Path]
    image_root: Path
    images: tuple[str, ...] = ()


class LabelledBox(NamedTuple):
    """One object on its way into a Record; box: x1, y1, x2, y2."""

    box: tuple[float, float, float, float]
    label: int
    object_id: int
    crowd: bool = False
    difficult: bool = False
    area: Optional[float] = None
    segment: Union[list, dict, tuple, BadOutline] = ()


def make_record(image_path: Path, image_id: int, size: Size, objects: Sequence[LabelledBox], source: str) -> Record:
    """A Record of labelled boxes."""
    height, width = size
    boxes = np.array([item.box for item in objects], np.float32).reshape(-1, 4)
    extent = np.abs(boxes[:, 2:] - boxes[:, :2])  # of corners in any order
    areas = [box_area if item.area is None else item.area for item, box_area in zip(objects, extent.prod(axis=1))]
    segments = tuple(item.segment or [] for item in objects)
    return Record(image_path=image_path, image_id=image_id, height=height, width=width, boxes=boxes,
                  labels=np.array([item.label for item in objects], np.int32),
                  crowd=np.array([item.crowd for item in objects], bool),
                  difficult=np.array([item.difficult for item in objects], bool),
                  areas=np.array(areas, np.float32), segments=segments if any(segments) else None,
                  object_ids=tuple(item.object_id for item in objects), source=source)


def inside(root: Path, path: Path) -> bool:
    """Whether path, with links and '..' resolved, lies below root."""
    try:
        return Path(root).resolve() in Path(path).resolve().parents
    except (OSError, RuntimeError, ValueError):  # links in a circle, names the file system cannot hold
        return False


def image_ids(stems: Sequence[str]) -> list[int]:
    """Image ids for formats without ids: the digits that end each file stem, or else running numbers from 1.

    The digits are taken only when every stem of the split has them and no two agree, so that an id names one
    image. Running numbers follow the order given (VOC: sorted names, TXT: rows).
    """
    endings = [re.search(r"[0-9]{1,18}$", stem) for stem in stems]
    numbers = [int(ending.group()) for ending in endings if ending]
    if len(set(numbers)) == len(stems):
        return numbers
    return list(range(1, len(stems) + 1))
