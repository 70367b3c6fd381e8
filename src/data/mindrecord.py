"""Audited annotations as MindRecord: written once, read by every rank, refused when it is not what was asked for.

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
    read_meta,
    remember_times,
    shard_names,
    write_description,
)
from src.data.mindrecord_rows import reason_of, relative_path, write_shards
from src.data.records import AnnotationSet, inside
from src.errors import DatasetError
from src.files import LockedError, locked, write_file

STARTED = time.time()   # a failure noted earlier than this belongs to a former run
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Where MindRecord files are, and how rows are spread over them. prefix: beginning of the file names."""

    folder: Path
    prefix: str
    shards: int = 8
    workers: Optional[int] = None


def prepare_mindrecord(request: DataRequest, place: Place, *, load: Callable[[], AnnotationSet],
                       audit: Callable[[AnnotationSet], AnnotationSet], force: bool = False, rank: int = 0,
                       rank_size: int = 1, timeout: float = 3600) -> RecordFiles:
    """The files that hold what `request` asks for; rank 0 writes them when needed, the other ranks wait.

    load, audit: read the annotations and check them; called only when the files have to be written. Stale or
    half-written files of this program are written again; `force` writes even current ones again. Of several runs that
    find nothing current, one writes and the others wait.
    Raises DatasetError: foreign files of that name, a failing write, rank 0 failed or took longer than `timeout` s.
    """
    if rank != 0:
        return _wait_for_rank_0(request, place, timeout)
    failed = _failed_path(place)
    if failed.exists():
        with contextlib.suppress(OSError):  # of another user, or on a disk that can only be read
            failed.unlink()
    try:
        current = None if force else current_files(request, place)
        if current is None:
            with _only_writer(place, timeout):
                current = None if force else current_files(request, place, say=True)
                return current or write_mindrecord(load(), audit, request, place)
        with contextlib.suppress(OSError):
            remember_times(current, request)
        return current
    except BaseException as error:  # Ctrl-C too: the other ranks must not wait for a process that is gone
        if rank_size > 1:
            with contextlib.suppress(OSError):  # a full disk: the error above is the one to report
                place.folder.mkdir(parents=True, exist_ok=True)
                write_file(failed, f"{type(error).__name__}: {error}")
        raise


def write_mindrecord(annotations: AnnotationSet, audit: Callable[[AnnotationSet], AnnotationSet], request: DataRequest,
                     place: Place) -> RecordFiles:
    """Write what the audit leaves of the annotations.

    Everything is written into a temporary folder first; files of the same prefix are replaced only then. Raises
    DatasetError: no images, foreign files of that name, an unreadable image, a full disk.
    """
    from mindspore.mindrecord.common.exceptions import MindRecordException

    folder, prefix, shards = place.folder, place.prefix, place.shards
    read_meta(folder, prefix)  # refuses to replace foreign files
    audited = audit(annotations)
    if not audited.records:
        raise DatasetError(f"{annotations.source}: no image is left to write into {folder / prefix}.")
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{prefix}.writing-", dir=folder))
        states = write_shards(audited, temporary / prefix, shards, request.described["with_masks"], place.workers)
        states += _left_out(annotations, states)
        names = [name + ending for name in shard_names(prefix, shards) for ending in ("", ".db")]
        _make_current(temporary, place, {
            "format": FORMAT, "version": SCHEMA_VERSION, "request": request.fingerprint,
            "fingerprint": content_fingerprint(request.fingerprint, states), "described": request.described,
            "with_masks": request.described["with_masks"], "classes": audited.classes,
            "category_ids": audited.category_ids, "image_count": len(audited.records),
            "max_objects": max(len(record.labels) for record in audited.records),
            "sizes": {name: (temporary / name).stat().st_size for name in names}, "images": states,
        })
    except (OSError, RuntimeError, MindRecordException) as error:
        raise DatasetError(f"{folder / prefix}: cannot be written, {reason_of(error)}. "
                           "Check free space and permissions, and that no other run writes the same files.") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_mindrecord(folder, prefix)


def current_files(request: DataRequest, place: Place, say: bool = False) -> Optional[RecordFiles]:
    """The files when they are what is asked for, else None; why they are not is printed when `say`.

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
    """Wait until no other process writes these files, and clear away what a killed one has left."""
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
    """The states of the images that the audit left out: when one is mended, the files are stale."""
    names = {state.file for state in written}
    paths = {relative_path(record, annotations.root): record.image_path for record in annotations.records
             if inside(annotations.root, record.image_path)}
    return [image_state(path, name) for name, path in paths.items() if name not in names]


def _make_current(temporary: Path, place: Place, meta: dict) -> None:
    """Replace the files of that prefix; a description marked incomplete covers the time in which old and new are
    mixed."""
    folder, description = place.folder, description_path(place.folder, place.prefix)
    write_description(description, {**meta, "complete": False})
    for path in existing_shards(folder, place.prefix):
        if path.name not in meta["sizes"]:
            path.unlink()
    for name in meta["sizes"]:
        (temporary / name).chmod(description.stat().st_mode & 0o777)   # MindRecord's are for their owner only
        os.replace(temporary / name, folder / name)
    write_description(description, {**meta, "complete": True})


def _wait_for_rank_0(request: DataRequest, place: Place, timeout: float) -> RecordFiles:
    failed = _failed_path(place)
    deadline = time.monotonic() + timeout
    while True:
        if failed.is_file() and failed.stat().st_mtime >= STARTED:
            raise DatasetError(f"{place.folder / place.prefix}: rank 0 could not prepare it. "
                               f"{failed.read_text(encoding='utf-8')}")
        try:
            return open_mindrecord(place.folder, place.prefix, request)
        except (AbsentFiles, UnusableFiles) as error:
            state = error
        if time.monotonic() >= deadline:
            raise DatasetError(f"{description_path(place.folder, place.prefix)}: waited {timeout:g} s for rank 0 to "
                               f"write it, in vain. Its last state: {state}")
        time.sleep(min(1.0, timeout))


def _failed_path(place: Place) -> Path:
    return place.folder / f"{place.prefix}.failed"
