"""Files that are whole or not there."""
from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Callable, Union

from src.errors import DatasetError


def write_file(path: Path, content: Union[bytes, str, Callable]) -> None:
    """Write bytes, text (UTF-8) or what `content(file)` puts into a binary file: under another name, flushed to the
    disk, then renamed, so that nobody ever reads half of it. Raises OSError, leaving an earlier file as it was."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def inside(folder: Path, name: str, source) -> Path:
    """`folder / name`; raises DatasetError naming the source where that is not below the folder."""
    parts = Path(name.replace("\\", "/")).parts
    if not parts or ".." in parts or Path(*parts).is_absolute() or ":" in parts[0]:
        raise DatasetError(f"{source}: '{name}' would be written outside {folder}; nothing of it was taken")
    return Path(folder, *parts)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file into `folder`. Raises DatasetError, before anything is written, when a member would leave the
    folder, is a link, or the disk has no room; and for a file that is damaged."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = file.infolist()
            for member in members:
                inside(folder, member.filename, archive)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise DatasetError(f"{archive}: '{member.filename}' is a link; nothing of it was taken")
            folder.mkdir(parents=True, exist_ok=True)
            needed, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
            if needed > free:
                raise DatasetError(f"{archive}: needs {needed >> 20} MB, but {folder} has room for {free >> 20} MB")
            file.extractall(folder)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DatasetError(f"{archive} cannot be unpacked ({error}); copy it again") from None
