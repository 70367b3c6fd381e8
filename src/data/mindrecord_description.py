"""The description file `<prefix>.json` beside MindRecord files: their content, its source, whether it is current.

It is written last: shards without a complete description file are half-written or belong to another program.
"""
from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional

from src.data.identity import DataRequest, ImageState, current_states
from src.errors import DatasetError
from src.files import parse_json, read_file, write_file

FORMAT = "object detection MindRecord"
SCHEMA_VERSION = 2
LEFT_ALONE = "They are left as they are: choose another mindrecord_dir, or delete them if they are not needed."


class AbsentFiles(DatasetError):
    """There are no files of that name yet."""


class UnusableFiles(DatasetError):
    """Files of this project that are stale or half-written; they may be written again."""


class ReplacedFiles(DatasetError):
    """Another run has replaced the files since they were opened."""


@dataclass(frozen=True)
class RecordFiles:
    """A complete set of MindRecord shards.

    files: the shards in order. category_ids: the data set's own id of each class. max_objects: largest number of
    objects in one image. with_masks: whether rows hold polygons and run-length encodings. fingerprint: the result of
    `content_fingerprint`. image_ids, checksums: of the rows, in the order of their index; empty for files of earlier
    versions.
    """

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    image_count: int
    max_objects: int
    with_masks: bool
    fingerprint: str
    description: Path
    image_ids: tuple[int, ...] = field(default=(), compare=False, repr=False)
    checksums: tuple[int, ...] = field(default=(), compare=False, repr=False)


class _Content(NamedTuple):
    """sizes: bytes by file name. images: the state of every audited image."""

    files: RecordFiles
    sizes: dict[str, int]
    request: str
    described: dict
    images: list[ImageState]


def open_mindrecord(folder: Path, prefix: str, request: Optional[DataRequest] = None) -> RecordFiles:
    """The files `<folder>/<prefix>*`. With a request, they must hold its data, and the images must be the same; the
    present times of the images are stored then, so that the next start need not read those of a copied data set again.

    Raises DatasetError when they are absent, foreign, half-written or stale.
    """
    content = _read(Path(folder), prefix)
    _check_sizes(content)
    if request is not None:
        _check_request(content, request)
    return content.files


def open_of_request(folder: Path, prefix: str, fingerprint: str) -> RecordFiles:
    """The files, if they were written for the request of this fingerprint; whether images have changed since is not
    looked at. Raises what `open_mindrecord` raises."""
    content = _read(Path(folder), prefix)
    _check_sizes(content)
    if content.request != fingerprint:
        raise UnusableFiles(f"{content.files.description}: stale, it holds what another request asked for.")
    return content.files


def stored_states(files: RecordFiles) -> list[ImageState]:
    """The images that the files hold, as they were when they were written."""
    path = files.description
    return _read(path.parent, path.stem).images[:files.image_count]


def check_not_replaced(files: RecordFiles) -> None:
    """Raises ReplacedFiles if the shards have been replaced since `files` was opened."""
    path = files.description
    try:
        found = _read(path.parent, path.stem).files
    except DatasetError:
        found = None
    if found != files:
        raise ReplacedFiles(f"{path}: another run has written these MindRecord files again, with other data, "
                           "while this one reads them. Give each run that needs other data a mindrecord_dir of its own")


def write_description(path: Path, meta: dict) -> None:
    """Write the description file as a whole or not at all."""
    write_file(path, json.dumps(meta, indent=1))


def description_path(folder: Path, prefix: str) -> Path:
    return folder / f"{prefix}.json"


def shard_names(prefix: str, shards: int) -> list[str]:
    """The file names that FileWriter uses: no number for a single shard, otherwise numbers of equal length."""
    if shards == 1:
        return [prefix]
    return [f"{prefix}{index:0{len(str(shards - 1))}d}" for index in range(shards)]


def existing_shards(folder: Path, prefix: str) -> list[Path]:
    """Existing files with the name of a shard or of its index."""
    pattern = re.compile(re.escape(prefix) + r"\d*(\.db)?")
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name)) if os.path.isdir(folder) else []


def read_meta(folder: Path, prefix: str) -> Optional[dict]:
    """The description as a dict, None if no file has this prefix. Raises DatasetError for foreign files."""
    path = description_path(folder, prefix)
    if not os.path.isfile(path):
        shards = existing_shards(folder, prefix)
        if shards:
            raise DatasetError(f"{shards[0]}: MindRecord files of this name exist, but no {path.name} says that this "
                               "program wrote them. Files of the old model zoo cannot be read here: write them again "
                               f"from images and annotations (coco_root, voc_root or image_dir). {LEFT_ALONE}")
        return None
    try:
        meta = parse_json(read_file(path))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable as json, {error}. {LEFT_ALONE}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise DatasetError(f"{path}: does not describe MindRecord files of this program. {LEFT_ALONE}")
    return meta


def _read(folder: Path, prefix: str) -> _Content:
    path, meta = description_path(folder, prefix), read_meta(folder, prefix)
    if meta is None:
        raise AbsentFiles(f"{path}: there is no MindRecord of this name. Check mindrecord_dir, or give the raw data so "
                          "that it can be written.")
    if meta.get("version") != SCHEMA_VERSION:
        raise UnusableFiles(f"{path}: written with schema version {meta.get('version')!r}, this program reads "
                            f"{SCHEMA_VERSION}.")
    if meta.get("complete") is not True:
        raise UnusableFiles(f"{path}: half-written, an earlier run was stopped while writing it.")
    content = _checked_content(path, meta, prefix)
    if content is None:
        raise UnusableFiles(f"{path}: damaged, its entries do not describe a set of MindRecord files.")
    return content


def _checked_content(path: Path, meta: dict, prefix: str) -> Optional[_Content]:
    """The content of a description file, which may have been edited by hand; None if it is invalid."""
    def is_list_of(kind: type, values: Any) -> bool:
        return isinstance(values, list) and all(type(value) is kind for value in values)

    sizes: Any
    classes: Any
    category_ids: Any
    images: Any
    sizes, classes, category_ids, images = (meta.get(key) for key in ("sizes", "classes", "category_ids", "images"))
    ids: Any = meta.get("image_ids", [])
    checksums: Any = meta.get("checksums", [])
    names = shard_names(prefix, len(sizes) // 2) if isinstance(sizes, dict) else []
    sound = (names and sorted(sizes) == sorted(names + [name + ".db" for name in names])
             and is_list_of(str, classes) and is_list_of(int, category_ids) and len(classes) == len(category_ids)
             and is_list_of(int, [meta.get("image_count"), meta.get("max_objects")])
             and all(is_list_of(int, of_rows) and len(of_rows) in (0, meta["image_count"])
                     for of_rows in (ids, checksums))
             and meta["image_count"] > 0 and type(meta.get("with_masks")) is bool
             and is_list_of(str, [meta.get("fingerprint"), meta.get("request")])
             and isinstance(meta.get("described"), dict) and is_list_of(list, images)
             and all([type(value) for value in state] == [str, int, int, str] for state in images))
    if not sound:
        return None
    files = RecordFiles(
        files=tuple(path.parent / name for name in names), classes=tuple(classes), category_ids=tuple(category_ids),
        image_count=meta["image_count"], max_objects=meta["max_objects"], with_masks=meta["with_masks"],
        fingerprint=meta["fingerprint"], description=path, image_ids=tuple(ids),
        checksums=tuple(checksums))
    return _Content(files, sizes, meta["request"], meta["described"], [ImageState(*state) for state in images])


def _check_sizes(content: _Content) -> None:
    folder = content.files.description.parent
    for name, size in content.sizes.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else None
        if found != size:
            raise UnusableFiles(f"{folder / name}: half-written or damaged, "
                                f"{'missing' if found is None else f'{found} bytes'} where "
                                f"{content.files.description.name} says {size} bytes.")


def _check_request(content: _Content, request: DataRequest) -> None:
    path = content.files.description
    if content.request != request.fingerprint:
        changed = [key for key, value in request.described.items()
                   if key != "paths" and content.described.get(key) != value]
        raise UnusableFiles(f"{path}: stale, {', '.join(changed) or 'the request'} changed since it was written.")
    states = current_states(content.images, request.image_root)
    changed = [before.file for before, today in zip(content.images, states) if before.sha256 != today.sha256]
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise UnusableFiles(f"{path}: stale, the image {changed[0]}{more} changed since it was written.")
    if states != content.images:
        with contextlib.suppress(OSError):  # of another user, or on a disk that can only be read
            write_description(path, {**(read_meta(path.parent, path.stem) or {}), "images": states})
