"""The rows of MindRecord files: one per image, with the bytes of the image file and its objects."""
from __future__ import annotations

import hashlib
import json
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Union

import numpy as np
from tqdm import tqdm

from src.abort_notice import named_if_aborted
from src.data.identity import ImageState
from src.data.mindrecord_description import FORMAT, RecordFiles, check_not_replaced
from src.data.records import AnnotationSet, Record
from src.errors import DatasetError
from src.files import open_input, parse_json

SCHEMA: dict[str, dict[str, Any]] = {
    "image_id": {"type": "int64"},
    "file": {"type": "string"},
    "height": {"type": "int32"},
    "width": {"type": "int32"},
    "orientation": {"type": "int32"},
    "count": {"type": "int32"},
    "boxes": {"type": "float32", "shape": [-1, 4]},
    "labels": {"type": "int32", "shape": [-1]},
    "crowd": {"type": "int32", "shape": [-1]},
    "difficult": {"type": "int32", "shape": [-1]},
    "areas": {"type": "float32", "shape": [-1]},
    "image": {"type": "bytes"},
}
MASK_SCHEMA: dict[str, dict[str, Any]] = {"segments": {"type": "bytes"}}
ROWS_PER_WRITE = 32
SMALLEST_PAGE = 1 << 20
ROW_OVERHEAD = 64     # bytes per row that MindRecord adds for the lengths of the parts
LARGEST_PAGE = 1 << 28  # MindRecord's own limit
SMALLEST_HEADER = 1 << 16
WRITE_AGAIN = "delete the MindRecord files to have them written again"
LARGEST_HEADER = 1 << 27  # MindRecord's own limit
HEADER_BYTES_PER_PAGE = 256  # measured: 190
BYTES_PER_NUMBER = 24  # longest number of an outline in JSON


class _Packed(NamedTuple):
    row: dict[str, Any]
    state: ImageState


class Written(NamedTuple):
    """What `write_shards` has stored: the state of each image, and {image id: checksum of its row}."""

    states: list[ImageState]
    checksums: dict[int, int]


def checksum(row: dict[str, Any]) -> int:
    """CRC-32 over all columns of a row, as they are written or as they are read."""
    found = 0
    for name, column in {**SCHEMA, **MASK_SCHEMA}.items():
        if name not in row:
            continue
        value = row[name]
        if column["type"] == "string":
            value = str(np.asarray(value).item())
        elif column["type"] != "bytes":
            value = np.asarray(value, column["type"]).tobytes()
        elif not isinstance(value, bytes):
            value = value.tobytes()     # item() would drop zero bytes at the end
        found = zlib.crc32(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value, found)
    return found


def read_rows(files: RecordFiles, indices: Union[Sequence[int], np.ndarray],
              columns: Optional[Sequence[str]] = None) -> Iterator[dict]:
    """Yield rows by their index in the shards, in the order of `indices`; repeated indices are allowed.

    A row is a dict: image_id, file (relative to the data set's root, with '/'), height, width, orientation (see
    `Record`), boxes (N, 4) float32, labels (N,) int32, crowd (N,) bool, difficult (N,) bool, areas (N,) float32, image
    (the file's bytes), and segments when they were stored; only `columns` of these when given.
    Raises DatasetError, before the first row, if another run has replaced the files since `files` was opened; and for a
    row that is not as it was written, which is noticed when all of its columns are read.
    """
    import mindspore.dataset as ds

    checked = files.checksums if columns is None else ()
    columns = list(columns or ({**SCHEMA, **MASK_SCHEMA} if files.with_masks else SCHEMA))
    paths = [path.as_posix() for path in files.files]
    check_not_replaced(files)
    is_first = True
    for start in range(0, len(indices), files.image_count):  # SubsetSampler's limit on indices
        sampler = ds.SubsetSampler([int(index) for index in indices[start:start + files.image_count]])
        try:
            with named_if_aborted(f"MindSpore read {paths[0]}", WRITE_AGAIN):
                # One thread reads thousands of rows per second; MindSpore refuses more threads than cores.
                dataset = ds.MindDataset(paths, columns_list=columns, sampler=sampler, num_parallel_workers=1)
                rows = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)
                for index, values in zip(indices[start:], rows):
                    if is_first:    # open files keep their content even if they are replaced
                        check_not_replaced(files)
                        is_first = False
                    row = dict(zip(columns, values))
                    if checked and checksum(row) != checked[int(index)]:
                        raise ValueError(f"row {index} is not as it was written")
                    yield _unpack(row)
        except (RuntimeError, ValueError) as error:
            raise DatasetError(f"{paths[0]}: cannot be read, {reason_of(error)}; {WRITE_AGAIN}") from error


def ids_of_rows(paths: Sequence[Path], count: int) -> list[int]:
    """The image id of each of `count` rows, in the order of their index in the shards. Takes 0.1 ms per row."""
    import mindspore.dataset as ds

    dataset = ds.MindDataset([path.as_posix() for path in paths], columns_list=["image_id"],
                             sampler=ds.SubsetSampler(list(range(count))), num_parallel_workers=1)
    return [int(values[0].item()) for values in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)]


def _pack(record: Record, root: Path, with_masks: bool) -> _Packed:
    """Pack one row. Returns it with the state of its image.

    MindRecord returns an empty array as a scalar with random content. Therefore an image without objects stores a row
    of zeros, and a count says that there is no object.
    """
    def at_least_one(array: np.ndarray, dtype: type) -> np.ndarray:
        return array.astype(dtype) if len(array) else np.zeros((1, *array.shape[1:]), dtype)

    try:
        with open_input(record.image_path) as file:
            image, status = file.read(), os.fstat(file.fileno())
    except OSError as error:
        raise DatasetError(f"{record.image_path}: cannot be read, {reason_of(error)}.") from error
    name = relative_path(record, root)
    row = {
        "image_id": record.image_id, "file": name, "image": image, "height": record.height, "width": record.width,
        "orientation": record.orientation, "count": len(record.labels),
        "boxes": at_least_one(record.boxes, np.float32), "labels": at_least_one(record.labels, np.int32),
        "crowd": at_least_one(record.crowd, np.int32), "difficult": at_least_one(record.difficult, np.int32),
        "areas": at_least_one(record.areas, np.float32),
    }
    if with_masks:
        row["segments"] = json.dumps(record.segments, separators=(",", ":")).encode()
    return _Packed(row, ImageState(name, status.st_size, status.st_mtime_ns, hashlib.sha256(image).hexdigest()))


def _unpack(row: dict[str, np.ndarray]) -> dict[str, Any]:
    count = int(row.pop("count", 0))
    objects: dict[str, type] = {"boxes": np.float32, "labels": np.int32, "crowd": bool, "difficult": bool,
                                "areas": np.float32}
    scalars: dict[str, Callable] = {"image_id": int, "height": int, "width": int, "orientation": int, "file": str}
    blobs: dict[str, Callable] = {"image": bytes, "segments": parse_json}
    unpacked: dict[str, Any] = {}
    for name, value in row.items():
        if name in objects:
            unpacked[name] = value.reshape(SCHEMA[name]["shape"])[:count].astype(objects[name])
        elif name in blobs:
            unpacked[name] = blobs[name](value.tobytes())  # item() would drop zero bytes at the end
        else:
            unpacked[name] = scalars[name](value.item())
    return unpacked


def write_shards(annotations: AnnotationSet, path: Path, shards: int, with_masks: bool,
                 workers: Optional[int]) -> Written:
    """Write `<path>0`, ..."""
    from mindspore.mindrecord import FileWriter

    records = annotations.records
    states: list[ImageState] = []
    checksums: dict[int, int] = {}
    writer = FileWriter(path.as_posix(), shards)
    layout = _layout(records, shards, with_masks)
    writer.set_page_size(layout.page_bytes)
    writer.set_header_size(layout.header_bytes)
    writer.add_schema({**SCHEMA, **MASK_SCHEMA} if with_masks else SCHEMA, FORMAT)
    pack = partial(_pack, root=annotations.root, with_masks=with_masks)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(records), desc=f"writing {path.name}", unit="image",
                                                   disable=None) as progress:
        for start in range(0, len(records), ROWS_PER_WRITE):
            packed = list(pool.map(pack, records[start:start + ROWS_PER_WRITE]))
            writer.write_raw_data([item.row for item in packed])
            states += [item.state for item in packed]
            checksums.update((item.row["image_id"], checksum(item.row)) for item in packed)
            progress.update(len(packed))
    writer.commit()
    return Written(states, checksums)


class _Layout(NamedTuple):
    page_bytes: int
    header_bytes: int


def _layout(records: Sequence[Record], shards: int, with_masks: bool) -> _Layout:
    """The size of a MindRecord page, which must hold the largest row, and of a shard's table of pages, in bytes.

    Both are as small as possible: MindRecord's default sizes would add 50 MB or more to each shard of a small set.
    """
    sizes = [record.image_path.stat().st_size + (_outline_bytes(record) if with_masks else 0) for record in records]
    largest = max(sizes) + ROW_OVERHEAD
    if largest > LARGEST_PAGE:
        path = records[sizes.index(max(sizes))].image_path
        raise DatasetError(f"{path}: {largest >> 20} MB are more than a MindRecord row can hold "
                           f"({LARGEST_PAGE >> 20} MB). Compress the image or leave it out.")
    page_size = max(SMALLEST_PAGE, _power_of_two(largest))
    # In the worst case pages are half empty, and the same number of pages holds boxes and labels.
    pages = 4 * (sum(sizes) // shards // page_size + 1)
    return _Layout(page_size, min(LARGEST_HEADER, max(SMALLEST_HEADER, _power_of_two(HEADER_BYTES_PER_PAGE * pages))))


def _outline_bytes(record: Record) -> int:
    """Upper bound of the bytes of the outlines as JSON."""
    counts = (len(segment["counts"]) if isinstance(segment, dict) else sum(map(len, segment))
              for segment in record.segments or ())
    return BYTES_PER_NUMBER * sum(counts)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def relative_path(record: Record, root: Path) -> str:
    """The image's path below root, with '/'."""
    path = record.image_path
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def reason_of(error: Exception) -> str:
    """The informative line of an error; MindSpore adds a banner and a C++ call stack."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line[len("[ERROR] "):] for line in lines if line.startswith("[ERROR] ")]
    return (told or [line for line in lines if line] or [type(error).__name__])[0].rstrip(".")
