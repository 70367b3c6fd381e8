"""Sizes from the headers of image files, for formats whose boxes are fractions of an image."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from src.data.images import exif_orientation, image_size
from src.data.records import Size, inside
from src.errors import ImageError
from src.files import open_input, read_file

HEAD_BYTES = 1 << 18    # a JPEG's size follows its EXIF block, which often holds a preview


class ShownSize(NamedTuple):
    """The size of an image after the turn that its EXIF orientation asks for."""

    size: Size
    orientation: int


def shown_sizes(paths: Sequence[Path], root: Path, read_outside: bool) -> list[Optional[ShownSize]]:
    """The size of each image, in order; None where the header cannot be read, or where the file is not below root and
    `read_outside` is false: the audit says why."""
    def look(path: Path) -> Optional[ShownSize]:
        return _shown_size(path) if read_outside or inside(root, path) else None

    with ThreadPoolExecutor() as pool:
        return list(pool.map(look, paths))


def _shown_size(path: Path) -> Optional[ShownSize]:
    try:
        with open_input(path) as file:
            head = file.read(HEAD_BYTES)
        try:
            height, width = image_size(head)
        except ImageError:
            head = read_file(path)
            height, width = image_size(head)
    except (OSError, ValueError, ImageError):
        return None
    orientation = exif_orientation(head)
    return ShownSize(Size(width, height) if orientation >= 5 else Size(height, width), orientation)
