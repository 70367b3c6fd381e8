"""Reads files that a user names, and writes files completely or not at all."""
from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Callable, Iterator, Union

from src.errors import DatasetError

try:
    import fcntl
except ImportError:     # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

MAX_BYTES = 2 << 30
MAX_WEIGHT_BYTES = 32 << 30     # training checkpoints of large networks contain the optimizer state
MAX_DIGITS = 25     # of an integer in json; turning millions of digits into a number takes minutes


def open_input(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a pipe or a device, which might never end."""
    def without_waiting(name: str, flags: int) -> int:  # opening a pipe waits for a writer
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file. Raises OSError, also for more than `max_bytes`."""
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"{size} bytes are more than the {max_bytes} that are accepted", str(path))
        return file.read(size)      # not max_bytes, because that much memory would be allocated


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The content of a UTF-8 file, without the byte order mark that Windows programs write. Raises OSError and
    ValueError."""
    return read_file(path, max_bytes).decode("utf-8-sig")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()
    with open_input(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def parse_json(text: Union[str, bytes]) -> Any:
    """The value that a json text holds. Raises ValueError, also where Python's own reader is lenient: NaN and
    infinity, a key that occurs twice in one object, endless integers and endless nesting."""
    def refuse(constant: str) -> None:
        raise _Constant(constant)

    def integer(digits: str) -> int:
        if len(digits) > MAX_DIGITS:
            raise ValueError(f"an integer of {len(digits)} digits")
        return int(digits)

    def unique(pairs: list) -> dict:
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' occurs twice in one "
                             "object")
        return content

    try:
        return json.loads(text, parse_constant=refuse, parse_int=integer, object_pairs_hook=unique)
    except _Constant as constant:
        raise ValueError(f"{constant} is not a number that json allows{_place_of(text, str(constant))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Constant(Exception):
    """NaN or infinity."""


def _place_of(text: Union[str, bytes], constant: str) -> str:
    """Where a constant stands outside of strings: line, column and what is before it."""
    content = text if isinstance(text, str) else text.decode(json.detect_encoding(text), "replace")
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|' + re.escape(constant), content):
        if match.group() == constant:
            start = content.rfind("\n", 0, match.start()) + 1
            before = " ".join(content[max(0, match.start() - 60):match.end()].split())
            return f": line {content.count(chr(10), 0, start) + 1} column {match.start() - start + 1}, ...{before}"
    return ""


def write_file(path: Path, content: Union[bytes, str, Callable]) -> None:
    """Write bytes, text (UTF-8) or what `content(file)` puts into a binary file: under another name, flushed to the
    disk, then renamed, so that no reader sees half a file. Raises OSError, leaving an earlier file as it was."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            if callable(content):
                content(file)
            else:
                # File names may hold bytes that are not UTF-8; JSON readers understand this escape.
                file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


class LockedError(Exception):
    """Another process holds the lock; the message names it."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which names this process and its host. The system frees it when the process ends, also
    when it is killed, so that a file that was left behind locks nothing. Raises LockedError, and OSError when the file
    cannot be written."""
    while True:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (open as long as the lock is held)
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        except FileNotFoundError:   # its last owner has just removed it
            pass
        except BlockingIOError:
            file.seek(0)
            raise LockedError(file.read() or "another process") from None
        except OSError as error:    # a file system without locks
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            break
        file.close()
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        file.close()


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
        with open_input(archive) as content, zipfile.ZipFile(content) as file:
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
