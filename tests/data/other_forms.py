"""Annotations written as other programs write them, for tests of the readers."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from src.data.records import AnnotationSet, Record


def write_yolo(folder: Path, polygons: bool = False, **splits: AnnotationSet) -> Path:
    """A YOLO data set: data.yaml, images/<split>, labels/<split>. polygons: outlines where there are some."""
    for split, loaded in splits.items():
        for record in loaded.records:
            _copied(record, folder / "images" / split)
            rows = [_yolo_row(record, index, polygons) for index in range(len(record.labels))]
            label = folder / "labels" / split / f"{record.image_path.stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            if rows:    # an image without objects needs no label file
                label.write_text("\n".join(rows) + "\n")
    first = next(iter(splits.values()))
    lines = [f"{split}: images/{split}" for split in splits] + [f"nc: {len(first.classes)}", "names:"]
    lines += [f"  {number}: {name}" for number, name in enumerate(first.classes)]
    (folder / "data.yaml").write_text("\n".join(lines) + "\n")
    return folder


def write_labelme(folder: Path, **splits: AnnotationSet) -> Path:
    """A LabelMe data set: images and json files in a folder per split; objects with one outline are polygons."""
    for split, loaded in splits.items():
        for record in loaded.records:
            path = _copied(record, folder / split)
            path.with_suffix(".json").write_text(json.dumps({
                "version": "5.5.0", "flags": {}, "imagePath": path.name, "imageData": None,
                "imageHeight": record.height, "imageWidth": record.width,
                "shapes": [_shape(record, index, loaded.classes) for index in range(len(record.labels))]}))
    return folder


def _shape(record: Record, index: int, classes: tuple[str, ...]) -> dict:
    polygons = record.segments[index] if record.segments else []
    points = np.reshape(polygons[0] if polygons else record.boxes[index], (-1, 2)).tolist()
    return {"label": classes[record.labels[index]], "points": points, "group_id": None, "flags": {}, "description": "",
            "difficult": bool(record.difficult[index]), "shape_type": "polygon" if polygons else "rectangle"}


def _yolo_row(record: Record, index: int, polygons: bool) -> str:
    x1, y1, x2, y2 = record.boxes[index].tolist()
    numbers = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    if polygons and record.segments and record.segments[index]:
        numbers, = record.segments[index]
    sides = (record.width, record.height)
    return " ".join([str(int(record.labels[index])),
                     *(repr(number / sides[position % 2]) for position, number in enumerate(numbers))])


def _copied(record: Record, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(record.image_path, folder))
