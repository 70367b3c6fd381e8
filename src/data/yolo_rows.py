"""YOLO labels: one text file per image, a row per object: `class x y width height`, or `class x y x y x y ...`.

Numbers are fractions of the image as it is shown, after the turn that EXIF asks for.
Format: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/
"""
from __future__ import annotations

import reprlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Sequence

from src.data.annotation_files import read_lines
from src.data.checks import EntryErrors, checked_integer, number_in, unknown_classes
from src.data.image_headers import ShownSize, shown_sizes
from src.data.records import AnnotationSet, DataSources, LabelledBox, ReaderFinding, Size, image_ids, make_record
from src.data.yolo_layout import find_yolo_split, has_labels
from src.data.yolo_names import find_yolo_set, has_list, has_yaml
from src.errors import AnnotationError
from src.printable import counted
from src.settings.schema import DataSection, without_background

LEAST, MOST = -1.0, 2.0     # boxes may reach a little out of the image, pixels are far above


class _Row(NamedTuple):
    """box: x1, y1, x2, y2; outline: x, y, x, y, ..., empty for a box; both as fractions."""

    class_number: int
    box: tuple[float, float, float, float]
    outline: list[float]


def read_split(data: DataSection, split: str, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """The split below yolo_root. Raises UsageError when it is missing, AnnotationError (file:line) for wrong rows.

    classes: names in label order, objects of others are left out; None takes those of data.yaml in the order of their
    numbers, but for a leading "background". Category ids are the numbers in the files.
    An image without a label file has no objects; a label file without an image is an "unknown_image" finding.
    Boxes are pixels of the image as EXIF turns it, whose size is read from its header. Of an image that cannot be
    opened they stay fractions; the audit leaves it out.
    """
    found = find_yolo_set(data.yolo_root)
    chosen = find_yolo_split(found, split, data.reads_outside)
    numbers = {name: number for number, name in found.classes.items()}
    names = tuple(without_background(list(numbers)) if classes is None else classes)
    missing = [name for name in names if name not in numbers]
    if missing:
        raise unknown_classes(found.named_in, missing, names, list(numbers))
    labels = {numbers[name]: label for label, name in enumerate(names)}
    sizes = shown_sizes(chosen.images, found.root, data.reads_outside)
    errors = EntryErrors()
    findings = [ReaderFinding("unknown_image", _name(path, found.root), f"there is no image {path.stem}.*",
                              boxes=sum(1 for _ in _rows(path, found.key_points, errors))) for path in chosen.strays]
    unselected: Counter[str] = Counter()
    records, next_object_id = [], 1
    for image, label_path, shown, image_id in zip(chosen.images, chosen.labels, sizes,
                                                  image_ids([path.stem for path in chosen.images])):
        source = _name(label_path or image, found.root)
        objects = []
        for line, row in _rows(label_path, found.key_points, errors) if label_path else ():
            if row.class_number in labels:
                objects.append(_labelled(row, labels[row.class_number], next_object_id, shown))
            elif row.class_number in found.classes:
                unselected[found.classes[row.class_number]] += 1
            else:
                findings.append(ReaderFinding("unknown_class", f"{source}:{line}", row.class_number, boxes=1))
            next_object_id += 1
        record = make_record(image, image_id, shown.size if shown else Size(0, 0), objects, source)
        records.append(replace(record, orientation=shown.orientation) if shown else record)
    errors.check()
    return AnnotationSet(classes=names, category_ids=tuple(numbers[name] for name in names),
                         records=tuple(sorted(records, key=lambda record: record.image_id)), root=found.root,
                         format="yolo", source=found.named_in, findings=tuple(findings), unselected=unselected)


def recognise(folder: Path) -> Optional[dict[str, str]]:
    """The settings that read the labels of a folder; None where nothing names the classes of such labels."""
    found = has_yaml(folder) or has_list(folder) and has_labels(folder)
    return {"yolo_root": str(folder)} if found else None


def find_split(data: DataSection, split: str) -> DataSources:
    """The files of a split; raises UsageError when there is none."""
    found = find_yolo_set(data.yolo_root)
    chosen = find_yolo_split(found, split, data.reads_outside)
    paths = [found.named_in, *chosen.lists, *(path for path in chosen.labels if path is not None), *chosen.strays]
    return DataSources(found.root.name, {_name(path, found.root): path for path in paths}, found.root,
                       tuple(_name(path, found.root) for path in chosen.images))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _labelled(row: _Row, label: int, object_id: int, shown: Optional[ShownSize]) -> LabelledBox:
    """The object in pixels of the image as it is shown."""
    height, width = shown.size if shown else (1, 1)
    x1, y1, x2, y2 = row.box
    outline = [number * (height if index % 2 else width) for index, number in enumerate(row.outline)]
    return LabelledBox((x1 * width, y1 * height, x2 * width, y2 * height), label, object_id,
                       segment=[outline] if outline else [])


def _rows(path: Path, key_points: int, errors: EntryErrors) -> Iterator[tuple[int, _Row]]:
    """(line number, row) of each object; adds the others to `errors`."""
    for line in read_lines(path):
        try:
            yield line.number, _row(line.text, key_points)
        except AnnotationError as error:
            errors.add(f"{path}:{line.number}", error)


def _row(text: str, key_points: int) -> _Row:
    """A row; of one with a box and key points, as many as data.yaml says, the box."""
    class_number, *numbers = (number_in(part) for part in text.split())
    number = checked_integer(class_number)
    if key_points and len(numbers) == 4 + key_points:
        numbers = numbers[:4]
    if len(numbers) == 4:
        x, y, width, height = _fractions(numbers)
        return _Row(number, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), [])
    if len(numbers) < 6 or len(numbers) % 2:
        raise AnnotationError(f"{reprlib.repr(text)} has {counted(len(numbers), 'number')} behind the class; a box has "
                              "4 (centre x, centre y, width, height), an outline 6 or more, two per point; a score is "
                              "no label")
    points = _fractions(numbers)
    return _Row(number, (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])), points)


def _fractions(numbers: list[float]) -> list[float]:
    """The numbers, when they can be fractions of an image."""
    for number in numbers:
        if not LEAST <= number <= MOST:
            raise AnnotationError(f"{number:g} is not a fraction of the image; divide pixels by its width and height")
    return numbers
