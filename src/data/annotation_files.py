"""Opens the files and folders that hold annotations."""
from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Iterable, NamedTuple, Optional, Union
from urllib.parse import unquote

from src.data.records import ReaderFinding, inside
from src.errors import AnnotationError, UsageError
from src.files import MAX_BYTES, open_input, read_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
HEAD_BYTES = 1 << 16     # from which a format is recognised


class Line(NamedTuple):
    """A line of a text file; numbers count from 1."""

    number: int
    text: str


def existing_folder(path: Optional[str], setting: str) -> Path:
    """The path if it is a folder; otherwise raises UsageError that names the setting."""
    if not path or not os.path.isdir(path):
        raise UsageError(f"'{path or ''}': no such folder; set {setting}")
    return Path(path)


def existing_file(path: Union[str, Path, None], setting: str) -> Path:
    """The path if it is a file; otherwise raises UsageError that names the setting."""
    if not path or not os.path.isfile(path):
        raise UsageError(f"'{path or ''}': no such file; set {setting}")
    return Path(path)


def no_split(root: Path, split: str, looked: Iterable[Path], setting: str) -> UsageError:
    """The error for a split that a data set does not have. looked: where it was looked for."""
    advice = f"set {setting}" + (", or draw one with tools/split_dataset.py" if split == "val" else "")
    return UsageError(f"{root}: has no split '{split}'; looked for "
                      f"{', '.join(path.relative_to(root).as_posix() for path in looked)}; {advice}")


def begins_with(path: Path, pattern: bytes) -> bool:
    """Whether the beginning of a file has a text of this form; False where it cannot be read."""
    try:
        with open_input(path) as file:
            return re.search(pattern, file.read(HEAD_BYTES)) is not None
    except OSError:
        return False


def check_below(root: Path, paths: Iterable[Path], setting: str) -> None:
    """Raises AnnotationError naming link and target when a file does not lie below root."""
    paths = list(paths)
    # A file that is no link lies where its folder does, and there are few folders.
    for path in [*dict.fromkeys(path.parent for path in paths), *(path for path in paths if path.is_symlink())]:
        if not inside(root, path) and path.resolve() != root:
            raise AnnotationError(f"{path} leads to {os.path.realpath(path)}, which is not below {root}; add "
                                  "--audit_policy outside_root=keep to read it from where it is, copy it, or set "
                                  f"{setting} to a folder that holds both")


def images_in(folder: Path) -> list[Path]:
    """The images right in a folder, sorted; hidden files are none."""
    return sorted(path for path in folder.iterdir()
                  if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."))


def unannotated(images: Iterable[Path]) -> list[ReaderFinding]:
    """The findings for images that no annotation file belongs to."""
    return [ReaderFinding("unannotated_image", path.name, "no annotation file belongs to it; write one without objects "
                          "if there is nothing to be found", images=1) for path in images]


def composed(name: str) -> str:
    """The name in Unicode's composed form; macOS writes an accented letter as two characters."""
    return unicodedata.normalize("NFC", name)


class Listings:
    """The names in folders, each of which is listed once. For files that are not there under the name they are given.
    """

    def __init__(self) -> None:
        self._names: dict[Path, list[str]] = {}

    def same(self, path: Path) -> Optional[Path]:
        """The file whose name differs in its Unicode form only, so that both look alike."""
        wanted = composed(path.name)
        return next((path.with_name(name) for name in self._in(path.parent) if composed(name) == wanted), None)

    def similar(self, path: Path) -> Optional[str]:
        """A name beside it that differs in case, in %20, or in folders that are written in front of it."""
        wanted = _plain(path.name)
        return next((name for name in self._in(path.parent) if _plain(name) == wanted), None)

    def _in(self, folder: Path) -> list[str]:
        if folder not in self._names:
            try:
                self._names[folder] = sorted(os.listdir(folder))
            except OSError:
                self._names[folder] = []
        return self._names[folder]


def _plain(name: str) -> str:
    return composed(unquote(name).replace("\\", "/").rsplit("/", 1)[-1]).casefold()


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of an annotation file. Raises UsageError if it is missing, AnnotationError if it is unreadable."""
    if not os.path.isfile(path):  # unlike Path.is_file it returns False for names that are too long
        raise UsageError(f"{path}: no such file")
    try:
        return read_file(path, max_bytes)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror}") from error


def read_lines(path: Path) -> list[Line]:
    """The non-blank lines of a UTF-8 file, without leading and trailing blanks."""
    try:
        content = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    return [Line(number, text.strip()) for number, text in enumerate(content.split("\n"), 1) if text.strip()]
