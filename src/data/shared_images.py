"""The images of a split in a file, for processes that predict them and need no objects."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from src.data.records import AnnotationSet, Size, make_record
from src.files import parse_json, read_file, write_file


def write_images(path: Path, annotations: AnnotationSet) -> None:
    """Write what `read_images` needs. Raises OSError."""
    images = [[str(record.image_path), record.image_id, record.height, record.width, record.orientation]
              for record in annotations.records]
    write_file(path, json.dumps({
        "classes": annotations.classes, "category_ids": annotations.category_ids, "root": str(annotations.root),
        "format": annotations.format, "source": str(annotations.source), "images": images}))


def read_images(path: Path) -> AnnotationSet:
    """The annotations that were written, without any object. Raises OSError and ValueError."""
    content = parse_json(read_file(path))
    source = Path(content["source"])
    records = tuple(replace(make_record(Path(image), image_id, Size(height, width), [], source.name),
                            orientation=orientation)
                    for image, image_id, height, width, orientation in content["images"])
    return AnnotationSet(tuple(content["classes"]), tuple(content["category_ids"]), records, Path(content["root"]),
                         content["format"], source)
