"""Writes detections as a stream in COCO's result format, and reads them with a check of every row."""
from __future__ import annotations

import json
import os
import re
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO, Iterable, Iterator, Optional, Sequence, TextIO, TypedDict, cast

import numpy as np

from src.errors import ProjectError, UsageError
from src.files import open_input, parse_json, read_file, write_file
from src.ops.detections import Detections
from src.printable import counted

# Larger coordinates and scores are invalid; the comparison also refuses NaN and infinity.
LARGEST_NUMBER = 1e12
LARGEST_ID = 2 ** 63 - 1    # the largest that the readers of annotations accept
# COCO's compressed run lengths use the characters 48..111. If bit 5 is set, another character must follow, so a string
# that ends in such a character is truncated, and pycocotools would read beyond its end.
COMPRESSED_RUNS = re.compile(r"[0-o]*[0-O]|")


class _Scored(TypedDict):
    image_id: int
    category_id: int
    score: float


class ResultRow(_Scored, total=False):
    """One detection in COCO's result form; with a bbox, a segmentation, or both."""

    bbox: Sequence[float]   # x, y, width, height
    segmentation: dict      # compressed run-length encoding


class PredictionWriter:
    """Streams detections to `<path>.tmp`, which is renamed to `<path>` when it is complete.

        with PredictionWriter(path, annotations.category_ids) as writer:
            writer.add(image_id, detections)

    An error inside the block removes the unfinished file, or keeps the images so far. `image_ids` has every image that
    was added, also images without a detection, which are not in the file.

    path: the json file to write.
    category_ids: the data set's category id of every label.
    keep_partial: after an error, Ctrl-C included, the images that are complete become <name>.partial.json, which no
    program takes for all of them, and a line is printed.
    """

    _file: TextIO

    def __init__(self, path: Path, category_ids: Iterable[int], keep_partial: bool = False):
        self.path = path
        self.partial = path.with_suffix(f".partial{path.suffix}") if keep_partial else None
        self._ends = [1]    # bytes of the file up to the end of each image; all its text is ASCII
        self.category_ids = [int(category_id) for category_id in category_ids]
        self.image_ids: set[int] = set()
        self._unfinished = self.path.with_name(self.path.name + ".tmp")
        self._separator = "\n"

    def __enter__(self) -> PredictionWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open("w", encoding="utf-8")
        except OSError as error:
            raise ProjectError(f"{self.path}: cannot be written ({error}); choose another output folder") from None
        self._file.write("[")
        return self

    def add(self, image_id: int, detections: Detections) -> None:
        """Write the `Detections` of one image. Raises ProjectError on numbers that are not finite, on a label that
        the data set does not have, and when the disk refuses; ValueError when the image was added before."""
        image_id = int(image_id)
        if image_id in self.image_ids:
            raise ValueError(f"image {image_id} was added twice; each image counts once")
        rows = self._rows(image_id, detections)
        end = self._ends[-1]
        try:
            for row in rows:
                end += self._file.write(self._separator + row)
                self._separator = ",\n"
        except OSError as error:
            raise ProjectError(f"{self.path}: cannot be written ({error}); make room and run again") from None
        self.image_ids.add(image_id)
        self._ends.append(end)

    def _rows(self, image_id: int, detections: Detections) -> Iterator[str]:
        boxes = detections.boxes.astype(np.float64)
        numbers = np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2], detections.scores]).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise ProjectError(f"image {image_id}: the network's boxes or scores are not finite; "
                               "the checkpoint is damaged or its training diverged")
        classes = len(self.category_ids)
        if len(detections) and not 0 <= detections.labels.min() <= detections.labels.max() < classes:
            raise ProjectError(f"image {image_id}: label {detections.labels.max()} found, but the data set has "
                               f"{counted(classes, 'class')}; the network was trained with other classes")
        # numpy prints the shortest decimal that gives the same float32
        for index, (x, y, width, height, score) in enumerate(numbers.astype(str)):
            row = (f'{{"image_id":{image_id},"category_id":{self.category_ids[detections.labels[index]]},'
                   f'"bbox":[{x},{y},{width},{height}],"score":{score}')
            if detections.masks is not None:
                row += f',"segmentation":{json.dumps(json_rle(detections.masks[index]), separators=(",", ":"))}'
            yield row + "}"

    def __exit__(self, error_type: Optional[type], *_: object) -> None:
        try:
            if error_type is None:
                self._file.write("\n]\n")
            self._file.close()
            if error_type is None:
                os.replace(self._unfinished, self.path)
                if self.partial is not None:
                    self.partial.unlink(missing_ok=True)    # of an earlier call
        except OSError as error:
            self._keep_partial()
            raise ProjectError(f"{self.path}: cannot be written ({error}); make room and run again") from None
        else:
            if error_type is not None:
                self._keep_partial()
        finally:
            self._unfinished.unlink(missing_ok=True)

    def _keep_partial(self) -> None:
        """Turn what reached the disk into a list of the images that are complete there."""
        if self.partial is None:
            return
        try:
            images = bisect_right(self._ends, self._unfinished.stat().st_size) - 1
            if images < 1 or self._ends[images] == 1:   # nothing was detected
                return
            with self._unfinished.open("r+b") as file:
                file.truncate(self._ends[images])
                file.seek(0, os.SEEK_END)
                file.write(b"\n]\n")
            os.replace(self._unfinished, self.partial)
        except OSError:     # the error that brought us here is the one to report
            return
        print(f"{self.partial}: the detections of the first {images} images")


def json_rle(mask: dict) -> dict:
    """Compressed COCO run lengths in JSON types; pycocotools returns bytes."""
    counts = mask["counts"].decode("ascii") if isinstance(mask["counts"], bytes) else mask["counts"]
    return {"size": [int(side) for side in mask["size"]], "counts": counts}


def merge_predictions(parts: Sequence[Path], path: Path) -> None:
    """Merge files that PredictionWriters wrote for different images, and remove them."""
    def rows() -> Iterator[bytes]:
        for part in parts:
            with open_input(part) as file:
                yield from (line.rstrip(b",\n") for line in file if line.startswith(b"{"))

    def write(file: BinaryIO) -> None:
        file.write(b"[")
        for number, row in enumerate(rows()):
            file.write((b",\n" if number else b"\n") + row)
        file.write(b"\n]\n")

    try:
        write_file(path, write)
        for part in parts:
            part.unlink()
    except OSError as error:
        raise ProjectError(f"{path}: cannot be put together ({error}); make room and run again") from None


def read_predictions(path: Path) -> list[ResultRow]:
    """The checked rows of a predictions file in COCO's result form.

    Raises UsageError when the file is missing, ProjectError when it is not json or a row is malformed."""
    try:
        rows = parse_json(read_file(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ProjectError(f"{path}: is not valid json ({error}); write the predictions again") from None
    check_predictions(rows, path)
    return rows


def check_predictions(rows: object, source: object) -> None:
    """Raise ProjectError unless `rows` is a list of detections in COCO's result form; `source` names it."""
    if not isinstance(rows, list):
        raise ProjectError(f"{source}: holds {_kind(rows)}, but predictions are a list of detections")
    for number, row in enumerate(rows, 1):
        fault = _fault(row)
        if fault:
            raise ProjectError(f"{source}, detection {number}: {fault}; "
                               'expected {"image_id", "category_id", "bbox": [x, y, width, height], "score"}')


def _fault(row: object) -> Optional[str]:
    """What is wrong with one detection, or None."""
    if not isinstance(row, dict):
        return f"is {_kind(row)}"
    for key in ("image_id", "category_id"):
        if type(row.get(key)) is not int or not -LARGEST_ID <= row[key] <= LARGEST_ID:
            return f"{key} is {_shown(row.get(key))}"
    if not _is_number(row.get("score")):
        return f"score is {_shown(row.get('score'))}"
    box, mask = row.get("bbox"), row.get("segmentation")
    if box is None and mask is None:
        return "has neither bbox nor segmentation"
    if box is not None and not (isinstance(box, (list, tuple)) and len(box) == 4 and all(map(_is_number, box))):
        return f"bbox is {_shown(box)}"
    if mask is not None and not _is_rle(mask):
        return f"segmentation is {_shown(mask)}, not a compressed run-length encoding"
    return None


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and -LARGEST_NUMBER < cast(float, value) < LARGEST_NUMBER


def _is_rle(mask: object) -> bool:
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return False
    size = mask.get("size")
    return (isinstance(size, list) and len(size) == 2 and all(type(side) is int and 0 < side < 2 ** 16 for side in size)
            and COMPRESSED_RUNS.fullmatch(mask["counts"]) is not None)


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "text", type(None): "null"}.get(type(value), "a number")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
