"""Identifies the data of a run, and tells whether images have changed, without parsing annotations."""
from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, NamedTuple, Optional, Sequence

from src.data.annotations import find_sources
from src.data.audit_policy import resolve_policy
from src.data.records import Record
from src.errors import AnnotationError
from src.files import sha256_of
from src.settings.data_formats import DATA_FORMATS
from src.settings.schema import DataSection

READING = 1     # to be raised when the same files and settings give other records than before
STATES_PER_TASK = 1000


@dataclass(frozen=True)
class DataRequest:
    """The data that the settings ask for.

    name: for a folder of its own. image_root: as in `DataSources`. described: everything that decides the result, and
    under "paths" where it is. fingerprint: hex SHA-256 of `described` without the paths and the audit's default
    actions, so that a copy of the data in another folder has the same fingerprint.
    """

    name: str
    image_root: Path
    described: dict
    fingerprint: str


class ImageState(NamedTuple):
    """A file when it was read. A changed size or mtime_ns is cheap to notice, sha256 is certain; a missing file has
    zeros and no hash."""

    file: str
    size: int
    mtime_ns: int
    sha256: str


def request_of(data: DataSection, split: str, with_masks: bool) -> DataRequest:
    """The request for a split. Raises UsageError that names the setting if a file or folder is missing."""
    sources = find_sources(data, split)
    try:
        annotations = {name: sha256_of(path) for name, path in sorted(sources.annotation_files.items())}
    except OSError as error:
        raise AnnotationError(f"{error.filename}: cannot be read: {error.strerror}") from error
    actions, usual = resolve_policy(data.audit_policy), resolve_policy()
    described = {
        "reading": READING, "format": data.dataset, "split": split, "classes": data.classes, "with_masks": with_masks,
        "audit_policy": actions, "max_image_pixels": data.max_image_pixels,
        "keep_empty_images": data.keep_empty_images, "annotations": annotations,
    }
    if sources.images:
        described["images"] = hashlib.sha256("\n".join(sources.images).encode()).hexdigest()
    # Without the default actions, so that a further kind of finding leaves the fingerprints of all data as they are.
    decided = {**described, "audit_policy": {kind: action for kind, action in actions.items() if action != usual[kind]}}
    fingerprint = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()
    paths = {key: str(Path(getattr(data, key)).resolve()) for key in DATA_FORMATS[data.dataset].paths
             if getattr(data, key)}
    return DataRequest(sources.name, sources.image_root, {**described, "paths": paths}, fingerprint)


def names_raw_data(data: DataSection) -> bool:
    """Whether the settings name annotations and images: a path other than the default, or a default that exists."""
    fields = type(data).model_fields
    paths = {key: getattr(data, key) for key in DATA_FORMATS[data.dataset].paths}
    return any(path and (path != fields[key].default or os.path.exists(path)) for key, path in paths.items())


def names_validation(data: DataSection) -> bool:
    """Whether a setting names a validation split: one that is neither the default nor empty."""
    fields, row = type(data).model_fields, DATA_FORMATS[data.dataset]
    keys = [*row.validation, *(key for key in row.paths if key.startswith("val_")), "val_list"]
    return any(getattr(data, key) not in (fields[key].default, "") for key in keys)


def is_training_split(data: DataSection) -> bool:
    """Whether the validation split is the training split, as of text rows without val_anno_path. Raises UsageError when
    one of them is missing."""
    train, val = (find_sources(data, split) for split in ("train", "val"))
    return train == val and not data.val_list


def content_fingerprint(request_fingerprint: str, states: Iterable[ImageState]) -> str:
    """Hex SHA-256 over the request and the content of every image."""
    content = [request_fingerprint, *([state.file, state.sha256] for state in states)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def image_state(path: Path, name: str, content: Optional[bytes] = None) -> ImageState:
    """The state of a file. name: used in messages and the description file. content: its bytes, if already read."""
    try:
        status = path.stat()
        digest = sha256_of(path) if content is None else hashlib.sha256(content).hexdigest()
    except OSError:  # the audit has already dealt with a missing file
        return ImageState(name, 0, 0, "")
    return ImageState(name, status.st_size, status.st_mtime_ns, digest)


def content_digests(records: Sequence[Record]) -> list[str]:
    """Hex sha256 of each image file. Raises AnnotationError for one that cannot be read."""
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(lambda record: image_state(record.image_path, str(record.image_path)), records))
    for state in states:
        if not state.sha256:
            raise AnnotationError(f"{state.file}: cannot be read; audit.py shows all images that are not right")
    return [state.sha256 for state in states]


def current_states(states: list[ImageState], root: Path) -> list[ImageState]:
    """The present states, in the same order. Only files with a different size or time are read."""
    def look(state: ImageState) -> ImageState:
        try:
            status = os.stat(os.path.join(root, state.file))
            found = status.st_size, status.st_mtime_ns
        except OSError:
            found = 0, 0
        return state if found == state[1:3] else image_state(Path(root, state.file), state.file)

    # Single tasks of a pool would take longer than the calls of the system.
    parts = [states[start:start + STATES_PER_TASK] for start in range(0, len(states), STATES_PER_TASK)]
    with ThreadPoolExecutor() as pool:
        return [state for part in pool.map(lambda part: [look(state) for state in part], parts) for state in part]


def states_of(records: Sequence[Record]) -> list[ImageState]:
    """The states of the images, by the names of their files."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda record: image_state(record.image_path, record.image_path.name), records))
