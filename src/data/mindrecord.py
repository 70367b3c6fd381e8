"""Writes audited annotations as MindRecord files once, for all ranks to read; refuses files of other data.

`<folder>/<prefix>0..7` (with `.db` index files) hold the rows, `<folder>/<prefix>.json` describes them and is written
last.
"""
from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional

from src.data.identity import DataRequest, ImageState, content_fingerprint, image_state
from src.data.mindrecord_description import (
    FORMAT,
    SCHEMA_VERSION,
    AbsentFiles,
    RecordFiles,
    UnusableFiles,
    description_path,
    existing_shards,
    open_mindrecord,
    open_of_request,
    read_meta,
    shard_names,
    write_description,
)
from src.data.mindrecord_rows import ids_of_rows, reason_of, relative_path, write_shards
from src.data.records import AnnotationSet, inside
from src.errors import DatasetError
from src.files import LockedError, locked, read_text, write_file

STARTED = time.time()   # a failure recorded before this time belongs to an earlier run
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Where MindRecord files are, and over how many files rows are spread. prefix: beginning of the file names."""

    folder: Path
    prefix: str
    shards: int = 8
    workers: Optional[int] = None


def prepare_mindrecord(request: DataRequest, place: Place, *, load: Callable[[], AnnotationSet],
                       audit: Callable[[AnnotationSet], AnnotationSet], force: bool = False, rank_size: int = 1,
                       timeout: float = 3600) -> RecordFiles:
    """The files that hold the requested data, written if needed. For rank 0; the other ranks `wait_for_mindrecord`.

    load, audit: read the annotations and check them; called only if the files must be written. Stale or half-written
    files of this program are written again; `force` also writes current ones again. If several runs need the files at
    the same time, one writes them and the others wait.
    Raises DatasetError if foreign files have that name, if writing fails, or if another process took longer than
    `timeout` s.
    """
    failed = _failed_path(place)
    if os.path.exists(failed):
        with contextlib.suppress(OSError):  # the file may belong to another user or lie on a read-only disk
            failed.unlink()
    try:
        current = None if force else current_files(request, place)
        if current is not None:
            return current
        with _only_writer(place, timeout):
            current = None if force else current_files(request, place, say=True)
            return current or write_mindrecord(load(), audit, request, place)
    except BaseException as error:  # also for Ctrl-C: the other ranks must not wait for a process that has ended
        if rank_size > 1:
            with contextlib.suppress(OSError):  # if the disk is full, the error above is the one to report
                place.folder.mkdir(parents=True, exist_ok=True)
                write_file(failed, f"{type(error).__name__}: {error}")
        raise


def write_mindrecord(annotations: AnnotationSet, audit: Callable[[AnnotationSet], AnnotationSet], request: DataRequest,
                     place: Place) -> RecordFiles:
    """Write the annotations that the audit accepts.

    All files are written into a temporary folder first and then replace files with the same prefix. Raises
    DatasetError if there are no images, foreign files have that name, an image is unreadable, or the disk is full.
    """
    from mindspore.mindrecord.common.exceptions import MindRecordException

    folder, prefix, shards = place.folder, place.prefix, place.shards
    read_meta(folder, prefix)  # raises for foreign files, so that they are not replaced
    audited = audit(annotations)
    if not audited.records:
        raise DatasetError(f"{annotations.source}: no image is left to write into {folder / prefix}.")
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{prefix}.writing-", dir=folder))
        states, checksums = write_shards(audited, temporary / prefix, shards, request.described["with_masks"],
                                         place.workers)
        all_states = states + _left_out(annotations, states)
        image_ids = ids_of_rows([temporary / name for name in shard_names(prefix, shards)], len(states))
        names = [name + ending for name in shard_names(prefix, shards) for ending in ("", ".db")]
        _make_current(temporary, place, {
            "format": FORMAT, "version": SCHEMA_VERSION, "request": request.fingerprint,
            "fingerprint": content_fingerprint(request.fingerprint, all_states), "described": request.described,
            "with_masks": request.described["with_masks"], "classes": audited.classes,
            "category_ids": audited.category_ids, "image_count": len(audited.records),
            "max_objects": max(len(record.labels) for record in audited.records),
            "image_ids": image_ids, "checksums": [checksums[image_id] for image_id in image_ids],
            "sizes": {name: (temporary / name).stat().st_size for name in names}, "images": all_states,
        })
    except (OSError, RuntimeError, MindRecordException) as error:
        raise DatasetError(f"{folder / prefix}: cannot be written, {reason_of(error)}. "
                           "Check free space and permissions, and that no other run writes the same files.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_mindrecord(folder, prefix)


def current_files(request: DataRequest, place: Place, say: bool = False) -> Optional[RecordFiles]:
    """The files if they hold the requested data, else None. say: print why they do not.

    Raises DatasetError for foreign files of that name.
    """
    try:
        return open_mindrecord(place.folder, place.prefix, request)
    except AbsentFiles:
        return None
    except UnusableFiles as fault:
        if say:
            print(f"{fault} It is written again.")
        return None


@contextlib.contextmanager
def _only_writer(place: Place, timeout: float) -> Iterator[None]:
    """Wait until no other process writes these files, and delete what a killed process has left."""
    deadline, said = time.monotonic() + timeout, False
    path = place.folder / f".{place.prefix}.lock"
    with contextlib.ExitStack() as stack:
        while True:
            try:
                place.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(path))
                break
            except LockedError as holder:
                if time.monotonic() >= deadline:
                    raise DatasetError(f"{place.folder / place.prefix}: {holder} has been writing these files for "
                                       f"{timeout:g} s; see what it does") from None
                if not said:
                    print(f"{place.folder / place.prefix}: {holder} is writing these files; waiting for it")
                said = True
                time.sleep(POLL_SECONDS)
            except OSError as error:
                raise DatasetError(f"{place.folder}: cannot be written, {reason_of(error)}. Choose another "
                                   "mindrecord_dir") from error
        for leftover in place.folder.glob(f".{glob.escape(place.prefix)}.writing-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for leftover in place.folder.glob(f".{glob.escape(description_path(place.folder, place.prefix).name)}.*"):
            with contextlib.suppress(OSError):
                leftover.unlink()
        yield


def _left_out(annotations: AnnotationSet, written: list[ImageState]) -> list[ImageState]:
    """The states of the images that the audit left out: if one of them is repaired, the files are stale."""
    names = {state.file for state in written}
    paths = {relative_path(record, annotations.root): record.image_path for record in annotations.records
             if inside(annotations.root, record.image_path)}
    return [image_state(path, name) for name, path in paths.items() if name not in names]


def _make_current(temporary: Path, place: Place, meta: dict) -> None:
    """Replace the files with that prefix. While old and new files are mixed, a description file says that they are
    incomplete."""
    folder, description = place.folder, description_path(place.folder, place.prefix)
    write_description(description, {**meta, "complete": False})
    for path in existing_shards(folder, place.prefix):
        if path.name not in meta["sizes"]:
            path.unlink()
    for name in meta["sizes"]:
        (temporary / name).chmod(description.stat().st_mode & 0o777)   # MindRecord's are private
        os.replace(temporary / name, folder / name)
    write_description(description, {**meta, "complete": True})


def wait_for_mindrecord(fingerprint: str, place: Place, force: bool = False, timeout: float = 3600) -> RecordFiles:
    """What rank 0 prepares for the request of this fingerprint; annotations and images are not read.

    force: rank 0 writes the files in any case, so that those of an earlier run are not the ones.
    Raises DatasetError when rank 0 has failed or takes longer than `timeout` s.
    """
    description = description_path(place.folder, place.prefix)
    failed = _failed_path(place)
    deadline = time.monotonic() + timeout
    while True:
        if os.path.isfile(failed) and failed.stat().st_mtime >= STARTED:
            raise DatasetError(f"{place.folder / place.prefix}: rank 0 could not prepare it. "
                               f"{read_text(failed)}")
        try:
            files = open_of_request(place.folder, place.prefix, fingerprint)
            if not force or description.stat().st_mtime >= STARTED:
                return files
            state: Exception = UnusableFiles(f"{description}: not written again yet")
        except (AbsentFiles, UnusableFiles) as error:
            state = error
        if time.monotonic() >= deadline:
            raise DatasetError(f"{description}: rank 0 did not write it within "
                               f"{timeout:g} s. Its last state: {state}")
        time.sleep(min(1.0, timeout))


def _failed_path(place: Place) -> Path:
    return place.folder / f"{place.prefix}.failed"
