"""The zoo's own text form: one picture per row, `path x1,y1,x2,y2,class[,is_crowd] ...`."""
from __future__ import annotations

import reprlib
from pathlib import Path

from src.data.records import (
    AnnotationSet,
    LabelledBox,
    Problem,
    checked_flag,
    checked_integer,
    checked_name,
    image_ids,
    make_record,
    number_in,
    read_lines,
)
from src.errors import AnnotationError, ConfigError


def load_txt(anno_path, image_dir, classes) -> AnnotationSet:
    """Read rows of a picture's path relative to image_dir and its boxes, separated by blanks.

    The class is a number from 1 in the order of `classes`, 0 being the zoo's background: a box of class 0 or above
    the last class is an "unknown_class" problem. A second row of a picture is a "duplicate_image_id" problem.
    Image ids: see `image_ids`; sizes are not declared.
    Raises ConfigError without classes, UsageError when the file is missing, AnnotationError (file:line) otherwise.
    """
    if classes is None:
        raise ConfigError("classes: TXT annotations hold class numbers only; list the class names in classes")
    anno_path, image_dir = Path(anno_path), Path(image_dir).resolve()
    classes = tuple(classes)
    problems, rows, next_object_id = [], {}, 1
    for line, text in read_lines(anno_path):
        source = f"{anno_path.name}:{line}"
        file_name, *columns = text.split()
        try:
            boxes = [_box(column) for column in columns]
            checked_name(file_name)
        except AnnotationError as error:
            raise AnnotationError(f"{anno_path}:{line}: {error}") from None
        if file_name in rows:
            problems.append(Problem("duplicate_image_id", source, file_name, images=1, boxes=len(boxes)))
            continue
        objects = []
        for box, number, crowd in boxes:
            if 1 <= number <= len(classes):
                objects.append(LabelledBox(box, number - 1, next_object_id, crowd=crowd))
            else:
                problems.append(Problem("unknown_class", source, number, boxes=1))
            next_object_id += 1
        rows[file_name] = (objects, source)
    ids = image_ids([Path(file_name).stem for file_name in rows])
    records = [make_record(image_dir / file_name, image_id, (0, 0), objects, source)
               for image_id, (file_name, (objects, source)) in zip(ids, rows.items())]
    return AnnotationSet(classes=classes, category_ids=tuple(range(1, len(classes) + 1)),
                         records=tuple(sorted(records, key=lambda record: record.image_id)), root=image_dir,
                         kind="txt", source=anno_path, problems=tuple(problems))


def _box(column):
    """(box, class number, crowd) of one `x1,y1,x2,y2,class[,is_crowd]`."""
    numbers = [number_in(part) for part in column.split(",")]
    if len(numbers) not in (5, 6):
        raise AnnotationError(f"{reprlib.repr(column)} has {len(numbers)} numbers; a box is "
                              "x1,y1,x2,y2,class or x1,y1,x2,y2,class,is_crowd without blanks")
    crowd = len(numbers) == 6 and checked_flag(numbers[5])
    return tuple(numbers[:4]), checked_integer(numbers[4]), crowd
