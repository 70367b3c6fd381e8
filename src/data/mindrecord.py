"""Audited annotations as MindRecord: written once, read by every rank, refused when it is not what was asked for.

`<folder>/<prefix>0..7` (with `.db` index files) hold one row per image: the image's own bytes and its objects.
`<folder>/<prefix>.json` says what they hold and how large they are, and is written last: shards without a complete
one beside them are half-written or somebody else's.
"""
from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.errors import DatasetError
from src.files import write_file

FORMAT = "object detection MindRecord"
SCHEMA_VERSION = 1
SCHEMA = {
    "image_id": {"type": "int64"},
    "file": {"type": "string"},
    "height": {"type": "int32"},
    "width": {"type": "int32"},
    "count": {"type": "int32"},
    "boxes": {"type": "float32", "shape": [-1, 4]},
    "labels": {"type": "int32", "shape": [-1]},
    "crowd": {"type": "int32", "shape": [-1]},
    "difficult": {"type": "int32", "shape": [-1]},
    "areas": {"type": "float32", "shape": [-1]},
    "image": {"type": "bytes"},
}
MASK_SCHEMA = {"segments": {"type": "bytes"}}
ROWS_PER_WRITE = 32
SMALLEST_PAGE = 1 << 20
ROW_OVERHEAD = 64     # bytes that MindRecord adds; the lengths of the parts
LARGEST_PAGE = 1 << 28  # MindRecord's own limit
SMALLEST_HEADER = 1 << 16
LARGEST_HEADER = 1 << 27  # MindRecord's own limit
HEADER_BYTES_PER_PAGE = 256  # measured: 190
BYTES_PER_NUMBER = 24  # of an outline, as json; the longest
STARTED = time.time()   # a failure noted earlier than this belongs to a former run


class _Absent(DatasetError):
    """Nothing of that name is there yet."""


class _Unusable(DatasetError):
    """Written by this project, but stale or half-written: it may be written anew."""


@dataclass(frozen=True)
class RecordFiles:
    """A complete set of MindRecord shards, as its json describes it.

    files: the shards in order; category_ids: the data set's own id of each class; max_objects: most objects of one
    image; with_masks: whether rows carry polygons and run-length encodings.
    """

    files: tuple
    classes: tuple
    category_ids: tuple
    image_count: int
    max_objects: int
    with_masks: bool
    fingerprint: str


def fingerprint(annotations, settings=None, with_masks=False):
    """Hex sha256 over everything that decides the content: objects, settings (a dict: audit policy, limits), schema.

    Images enter with name and size in bytes, not with their time, so that a copy of the data set on another
    machine has the same fingerprint.
    """
    digest = hashlib.sha256()

    def add(value):
        digest.update(json.dumps(value, sort_keys=True, default=str).encode() + b"\n")

    add([SCHEMA_VERSION, with_masks, settings, annotations.classes, annotations.category_ids, annotations.findings])
    for record in annotations.records:
        try:
            size = record.image_path.stat().st_size
        except OSError:
            size = None  # the audit decides what becomes of a missing image
        add([_relative_path(record, annotations.root), size, record.image_id, record.height, record.width,
             len(record.labels), record.segments if with_masks else None])
        for array in (record.boxes, record.labels, record.crowd, record.difficult, record.areas):
            digest.update(array.tobytes())
    return digest.hexdigest()


def prepare_mindrecord(annotations, folder, prefix, *, audit, settings=None, shards=8, with_masks=False,
                       workers=None, rank=0, rank_size=1, timeout=3600, rebuild=True, force=False):
    """Return the RecordFiles of these annotations; rank 0 writes them when needed, the other ranks wait.

    annotations: AnnotationSet as loaded; audit: function AnnotationSet -> audited AnnotationSet, called only when
    the files have to be written; settings: what else decides the content, see `fingerprint`.
    Stale or half-written files of ours are written anew, with `rebuild=False` they are refused; `force` writes even
    current ones anew.
    Raises DatasetError: foreign files of that name, a failing write, rank 0 failed or took longer than `timeout` s.
    """
    folder = Path(folder)
    wanted = fingerprint(annotations, settings, with_masks)
    if rank != 0:
        return _wait_for_rank_0(folder, prefix, wanted, timeout)
    failed = _failed_path(folder, prefix)
    failed.unlink(missing_ok=True)
    try:
        try:
            current = open_mindrecord(folder, prefix, wanted)
            if not force:
                return current
        except _Absent:
            pass
        except _Unusable as fault:
            if not rebuild:
                raise
            print(f"{fault} It is written anew.")
        return write_mindrecord(audit(annotations), folder, prefix, shards=shards, fingerprint=wanted,
                                with_masks=with_masks, workers=workers)
    except BaseException as error:  # Ctrl-C too: the other ranks must not wait for a process that is gone
        if rank_size > 1:
            with suppress(OSError):  # a full disk: the error above is the one to report
                folder.mkdir(parents=True, exist_ok=True)
                write_file(failed, f"{type(error).__name__}: {error}")
        raise


def open_mindrecord(folder, prefix, fingerprint=None):
    """RecordFiles of `<folder>/<prefix>*`, for training without the raw data; with a fingerprint they must match it.

    Raises DatasetError when they are absent, foreign, half-written or stale.
    """
    folder = Path(folder)
    path = _meta_path(folder, prefix)
    meta = _read_meta(folder, prefix)
    if meta is None:
        raise _Absent(f"{path}: there is no MindRecord of this name. Check mindrecord_dir, or give the raw data "
                      "so that it can be written.")
    if meta.get("version") != SCHEMA_VERSION:
        raise _Unusable(f"{path}: written with schema version {meta.get('version')!r}, this program reads "
                        f"{SCHEMA_VERSION}.")
    if meta.get("complete") is not True:
        raise _Unusable(f"{path}: half-written, an earlier run was stopped while writing it.")
    sizes, files = _checked_content(path, meta, prefix)
    for name, size in sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            raise _Unusable(f"{folder / name}: half-written or damaged, "
                            f"{'missing' if found is None else f'{found} bytes'} where {path.name} says {size} bytes.")
    if fingerprint is not None and files.fingerprint != fingerprint:
        raise _Unusable(f"{path}: stale, the annotations, images or audit settings have changed since.")
    return files


def write_mindrecord(annotations, folder, prefix, *, fingerprint, shards=8, with_masks=False, workers=None):
    """Write audited annotations as `<folder>/<prefix>*` and return their RecordFiles.

    Everything is written into a temporary folder first; files of the same prefix are replaced only then.
    workers: threads that read images. Raises DatasetError: no images, foreign files of that name, an unreadable
    image, a full disk.
    """
    from mindspore.mindrecord.common.exceptions import MindRecordException

    folder = Path(folder)
    if not annotations.records:
        raise DatasetError(f"{annotations.source}: no image is left to write into {folder / prefix}.")
    _read_meta(folder, prefix)  # refuses to replace foreign files
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".{glob.escape(prefix)}.writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{prefix}.writing-", dir=folder))
        _write_shards(annotations, temporary / prefix, shards, with_masks, workers)
        names = [name + ending for name in _shard_names(prefix, shards) for ending in ("", ".db")]
        _make_current(temporary, folder, prefix, {
            "format": FORMAT, "version": SCHEMA_VERSION, "fingerprint": fingerprint, "with_masks": with_masks,
            "classes": annotations.classes, "category_ids": annotations.category_ids,
            "image_count": len(annotations.records),
            "max_objects": max(len(record.labels) for record in annotations.records),
            "sizes": {name: (temporary / name).stat().st_size for name in names},
        })
    except (OSError, RuntimeError, MindRecordException) as error:
        raise DatasetError(f"{folder / prefix}: cannot be written, {_reason(error)}. "
                           "Check free space and permissions, and that no other run writes the same files.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_mindrecord(folder, prefix, fingerprint)


def read_rows(files, indices, columns=None):
    """Yield rows by their index in the shards, in the order of `indices`; repeated indices are allowed.

    A row is a dict: image_id, file (relative to the data set's root, with '/'), height, width, boxes (N, 4) float32,
    labels (N,) int32, crowd (N,) bool, difficult (N,) bool, areas (N,) float32, image (the file's bytes), and
    segments when they were stored; only `columns` of these when given.
    """
    import mindspore.dataset as ds

    columns = list(columns or ({**SCHEMA, **MASK_SCHEMA} if files.with_masks else SCHEMA))
    paths = [path.as_posix() for path in files.files]
    for start in range(0, len(indices), files.image_count):  # SubsetSampler takes no more indices than there are rows
        sampler = ds.SubsetSampler([int(index) for index in indices[start:start + files.image_count]])
        try:
            # One thread delivers thousands of rows a second; more of them are refused on machines with fewer cores.
            dataset = ds.MindDataset(paths, columns_list=columns, sampler=sampler, num_parallel_workers=1)
            for values in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
                yield _unpack(dict(zip(columns, values)))
        except (RuntimeError, ValueError) as error:
            raise DatasetError(f"{paths[0]}: cannot be read, {_reason(error)}. Delete the MindRecord files "
                               "to have them written anew.") from error


def _pack(record, root, with_masks):
    """One row. MindRecord gives an empty array back as a scalar of random content: an image without objects
    carries a row of zeros instead, and the count says so."""
    def at_least_one(array, dtype):
        return array.astype(dtype) if len(array) else np.zeros((1, *array.shape[1:]), dtype)

    try:
        image = record.image_path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{record.image_path}: cannot be read, {_reason(error)}.") from error
    row = {
        "image_id": record.image_id, "file": _relative_path(record, root), "image": image,
        "height": record.height, "width": record.width, "count": len(record.labels),
        "boxes": at_least_one(record.boxes, np.float32), "labels": at_least_one(record.labels, np.int32),
        "crowd": at_least_one(record.crowd, np.int32), "difficult": at_least_one(record.difficult, np.int32),
        "areas": at_least_one(record.areas, np.float32),
    }
    if with_masks:
        row["segments"] = json.dumps(record.segments, separators=(",", ":")).encode()
    return row


def _unpack(row):
    count = int(row.pop("count", 0))
    objects = {"boxes": np.float32, "labels": np.int32, "crowd": bool, "difficult": bool, "areas": np.float32}
    scalars = {"image_id": int, "height": int, "width": int, "file": str}
    blobs = {"image": bytes, "segments": json.loads}
    unpacked = {}
    for name, value in row.items():
        if name in objects:
            unpacked[name] = value.reshape(SCHEMA[name]["shape"])[:count].astype(objects[name])
        elif name in blobs:
            unpacked[name] = blobs[name](value.tobytes())  # item() would drop zero bytes at the end
        else:
            unpacked[name] = scalars[name](value.item())
    return unpacked


def _write_shards(annotations, path, shards, with_masks, workers):
    from mindspore.mindrecord import FileWriter

    records = annotations.records
    writer = FileWriter(path.as_posix(), shards)
    page_size, header_size = _page_and_header_size(records, shards, with_masks)
    writer.set_page_size(page_size)
    writer.set_header_size(header_size)
    writer.add_schema({**SCHEMA, **MASK_SCHEMA} if with_masks else SCHEMA, FORMAT)
    pack = partial(_pack, root=annotations.root, with_masks=with_masks)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(records), desc=f"writing {path.name}", unit="image",
                                                   disable=None) as progress:
        for start in range(0, len(records), ROWS_PER_WRITE):
            rows = list(pool.map(pack, records[start:start + ROWS_PER_WRITE]))
            writer.write_raw_data(rows)
            progress.update(len(rows))
    writer.commit()


def _page_and_header_size(records, shards, with_masks):
    """Bytes of a MindRecord page, which has to hold the largest row, and of a shard's table of pages.

    As small as they can be: MindRecord's own sizes would put 50 MB and more into each shard of a small set.
    """
    sizes = [record.image_path.stat().st_size + (_outline_bytes(record) if with_masks else 0) for record in records]
    largest = max(sizes) + ROW_OVERHEAD
    if largest > LARGEST_PAGE:
        path = records[sizes.index(max(sizes))].image_path
        raise DatasetError(f"{path}: {largest >> 20} MB are more than a MindRecord row can hold "
                           f"({LARGEST_PAGE >> 20} MB). Compress the image or leave it out.")
    page_size = max(SMALLEST_PAGE, _power_of_two(largest))
    # At worst a page is half empty, and as many pages hold boxes and labels.
    pages = 4 * (sum(sizes) // shards // page_size + 1)
    return page_size, min(LARGEST_HEADER, max(SMALLEST_HEADER, _power_of_two(HEADER_BYTES_PER_PAGE * pages)))


def _outline_bytes(record):
    """At most so many bytes of json."""
    counts = (len(segment["counts"]) if isinstance(segment, dict) else sum(map(len, segment))
              for segment in record.segments or ())
    return BYTES_PER_NUMBER * sum(counts)


def _power_of_two(size):
    return 1 << (size - 1).bit_length()


def _make_current(temporary, folder, prefix, meta):
    """Replace the files of that prefix; a json marked incomplete covers the time in which old and new are mixed."""
    write_file(_meta_path(folder, prefix), json.dumps({**meta, "complete": False}))
    for path in _existing_shards(folder, prefix):
        if path.name not in meta["sizes"]:
            path.unlink()
    for name in meta["sizes"]:
        os.replace(temporary / name, folder / name)
    write_file(_meta_path(folder, prefix), json.dumps({**meta, "complete": True}, indent=1))


def _wait_for_rank_0(folder, prefix, wanted, timeout):
    failed = _failed_path(folder, prefix)
    deadline = time.monotonic() + timeout
    while True:
        if failed.is_file() and failed.stat().st_mtime >= STARTED:
            raise DatasetError(f"{folder / prefix}: rank 0 could not prepare it. {failed.read_text(encoding='utf-8')}")
        try:
            return open_mindrecord(folder, prefix, wanted)
        except (_Absent, _Unusable) as error:
            state = error
        if time.monotonic() >= deadline:
            raise DatasetError(f"{_meta_path(folder, prefix)}: waited {timeout:g} s for rank 0 to write it, in vain. "
                               f"Its last state: {state}")
        time.sleep(min(1.0, timeout))


def _read_meta(folder, prefix):
    """The json as a dict, None when there is nothing of this prefix. Raises DatasetError when files are foreign."""
    path = _meta_path(folder, prefix)
    advice = ("They are left as they are: choose another mindrecord_dir, or delete them if they are not needed.")
    if not path.is_file():
        shards = _existing_shards(folder, prefix)
        if shards:
            raise DatasetError(f"{shards[0]}: MindRecord files of this name exist, but there is no {path.name} that "
                               f"says this program wrote them (the old model zoo's have none). {advice}")
        return None
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as json, {_reason(error)}. {advice}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise DatasetError(f"{path}: does not describe MindRecord files of this program. {advice}")
    return meta


def _checked_content(path, meta, prefix):
    """({file name: bytes}, RecordFiles) from a json that may have been edited by hand."""
    def is_list_of(kind, values):
        return isinstance(values, list) and all(type(value) is kind for value in values)

    sizes, classes, category_ids = (meta.get(key) for key in ("sizes", "classes", "category_ids"))
    names = _shard_names(prefix, len(sizes) // 2) if isinstance(sizes, dict) else []
    sound = (names and sorted(sizes) == sorted(names + [name + ".db" for name in names])
             and is_list_of(str, classes) and is_list_of(int, category_ids) and len(classes) == len(category_ids)
             and is_list_of(int, [meta.get("image_count"), meta.get("max_objects")])
             and meta["image_count"] > 0 and type(meta.get("with_masks")) is bool
             and type(meta.get("fingerprint")) is str)
    if not sound:
        raise _Unusable(f"{path}: damaged, its entries do not describe a set of MindRecord files.")
    return sizes, RecordFiles(
        files=tuple(path.parent / name for name in names), classes=tuple(classes), category_ids=tuple(category_ids),
        image_count=meta["image_count"], max_objects=meta["max_objects"], with_masks=meta["with_masks"],
        fingerprint=meta["fingerprint"])


def _shard_names(prefix, shards):
    """The names FileWriter gives: no number for a single shard, numbers of equal length otherwise."""
    if shards == 1:
        return [prefix]
    return [f"{prefix}{index:0{len(str(shards - 1))}d}" for index in range(shards)]


def _existing_shards(folder, prefix):
    pattern = re.compile(re.escape(prefix) + r"\d*(\.db)?")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if folder.is_dir() else []


def _meta_path(folder, prefix):
    return folder / f"{prefix}.json"


def _failed_path(folder, prefix):
    return folder / f"{prefix}.failed"


def _relative_path(record, root):
    path = record.image_path
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _reason(error):
    """The telling line of an error; MindSpore wraps its own in a banner and a C++ call stack."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line[len("[ERROR] "):] for line in lines if line.startswith("[ERROR] ")]
    return (told or [line for line in lines if line] or [type(error).__name__])[0].rstrip(".")
