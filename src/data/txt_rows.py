"""Reads the zoo's text format: one image per row, `path x1,y1,x2,y2,class[,is_crowd] ...`."""
from __future__ import annotations

import reprlib
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from src.data.annotation_files import begins_with, existing_file, existing_folder, read_lines
from src.data.checks import EntryErrors, checked_flag, checked_integer, checked_name, number_in
from src.data.records import AnnotationSet, DataSources, LabelledBox, ReaderFinding, Size, image_ids, make_record
from src.errors import AnnotationError, ConfigError
from src.printable import counted
from src.settings.schema import DataSection

ROW = rb"^(\xef\xbb\xbf)?\S+\.\w+( +-?[\d.]+(,-?[\d.]+){4,5})+\s*[\r\n]"


class _Box(NamedTuple):
    box: tuple[float, float, float, float]
    class_number: int
    crowd: bool


def read_split(data: DataSection, split: str, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """The rows of anno_path; for evaluation the rows of val_anno_path if it is set."""
    found = find_split(data, split)
    anno_path, = found.annotation_files.values()
    return load_txt(anno_path, found.image_root, classes)


def recognise(folder: Path) -> Optional[dict[str, str]]:
    """The settings that read the rows of train.txt and val.txt in a folder; None where there are none."""
    if not begins_with(folder / "train.txt", ROW):
        return None
    validation = {"val_anno_path": str(folder / "val.txt")} if (folder / "val.txt").is_file() else {}
    return {"image_dir": str(folder), "anno_path": str(folder / "train.txt"), **validation}


def find_split(data: DataSection, split: str) -> DataSources:
    """The files of a split; raises UsageError that names the setting if one is missing."""
    setting = "anno_path" if split == "train" or not data.val_anno_path else "val_anno_path"
    anno_path = existing_file(getattr(data, setting), setting)
    return DataSources(anno_path.stem, {anno_path.name: anno_path},
                       existing_folder(data.image_dir, "image_dir").resolve())


def load_txt(anno_path: Path, image_dir: Path, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """Read rows with an image's path, relative to image_dir, and its boxes, separated by blanks.

    The class is a number from 1, in the order of `classes`. 0 is the zoo's background. A box of class 0 or above the
    last class is an "unknown_class" finding. A further row of an image is a record of its own, which the audit finds.
    Image ids: see `image_ids`; sizes are not declared.
    Raises ConfigError without classes, UsageError if the file is missing, AnnotationError (file:line) for a bad row.
    """
    if classes is None:
        raise ConfigError("classes: TXT annotations hold class numbers only; list the class names in classes")
    anno_path, image_dir = Path(anno_path), Path(image_dir).resolve()
    classes = tuple(classes)
    findings, rows, next_object_id, errors = [], [], 1, EntryErrors()
    for line in read_lines(anno_path):
        source = f"{anno_path.name}:{line.number}"
        file_name, *columns = line.text.split()
        try:
            boxes = [_box(column) for column in columns]
            checked_name(file_name)
        except AnnotationError as error:
            errors.add(f"{anno_path}:{line.number}", error)
            continue
        objects = []
        for box, number, crowd in boxes:
            if 1 <= number <= len(classes):
                objects.append(LabelledBox(box, number - 1, next_object_id, crowd=crowd))
            else:
                findings.append(ReaderFinding("unknown_class", source, number, boxes=1))
            next_object_id += 1
        rows.append((file_name, objects, source))
    errors.check()
    ids = image_ids([Path(file_name).stem for file_name, *_ in rows])
    records = [make_record(image_dir / file_name, image_id, Size(0, 0), objects, source)
               for image_id, (file_name, objects, source) in zip(ids, rows)]
    return AnnotationSet(classes=classes, category_ids=tuple(range(1, len(classes) + 1)),
                         records=tuple(sorted(records, key=lambda record: record.image_id)), root=image_dir,
                         format="txt", source=anno_path, findings=tuple(findings))


def _box(column: str) -> _Box:
    """One `x1,y1,x2,y2,class[,is_crowd]`."""
    numbers = [number_in(part) for part in column.split(",")]
    if len(numbers) not in (5, 6):
        raise AnnotationError(f"{reprlib.repr(column)} has {counted(len(numbers), 'number')}; a box is "
                              "x1,y1,x2,y2,class or x1,y1,x2,y2,class,is_crowd without blanks")
    crowd = len(numbers) == 6 and checked_flag(numbers[5])
    x1, y1, x2, y2, label = numbers[:5]
    return _Box((x1, y1, x2, y2), checked_integer(label), crowd)
