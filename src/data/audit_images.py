"""The part of the audit that decodes the image files, each once."""
from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Optional, Sequence

import numpy as np
from tqdm import tqdm

from src.data.annotation_files import Listings
from src.data.cut_jpeg import is_cut_short
from src.data.images import bits_in_use, decode_stored, exif_orientation, image_size, is_complete
from src.data.records import Record, Size, inside
from src.errors import ImageError
from src.files import read_file


@dataclass(frozen=True)
class ImageFacts:
    """What the audit found in an image file: either a kind of finding that makes it unusable, or its size and EXIF
    orientation.

    size: as stored, before any rotation. outside: where the file really is if that is not below the root.
    depth: of a 16-bit image whose largest value needs fewer bits, in words. path: of the file, if its name differs
    from the record's in its Unicode form. digest: hex SHA-256 of the file.
    """

    fault: str = ""
    value: str = ""
    size: Size = Size(0, 0)
    orientation: int = 1
    outside: str = ""
    depth: str = ""
    path: Optional[Path] = None
    digest: str = ""

    @property
    def turned_size(self) -> Size:
        """The size after the rotation that EXIF specifies."""
        return Size(self.size.width, self.size.height) if self.orientation >= 5 else self.size


def look_at_all(records: Sequence[Record], root: Path, max_pixels: int, workers: Optional[int], progress: bool,
                read_outside: bool) -> list[ImageFacts]:
    """The facts of each record, in order. read_outside: whether to open files that are not below the root."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())   # OpenCV releases the GIL while it decodes

    listings = Listings()

    def look(record: Record) -> ImageFacts:
        path = record.image_path
        alike = None if os.path.lexists(path) or not inside(root, path) else listings.same(path)
        facts = _look_at(alike or path, root, max_pixels, read_outside)
        if facts.fault == "missing_image" and not facts.outside:
            similar = listings.similar(path)
            return replace(facts, value=facts.value + (f"; '{similar}' is there" if similar else ""))
        return facts if alike is None else replace(facts, path=alike)

    try:
        found: Iterator[ImageFacts] = pool.map(look, records)
        return list(tqdm(found, "audit", len(records), unit="image", disable=None if progress else True))
    finally:  # Ctrl-C must not wait for the images that are still queued
        pool.shutdown(cancel_futures=True)


def exif_is_applied(records: Sequence[Record], facts: Sequence[ImageFacts]) -> bool:
    """Whether the program that made the annotations applied EXIF orientation: the majority vote of the images that EXIF
    rotates by 90 degrees, by their declared sizes."""
    votes = 0
    for record, image in zip(records, facts):
        if not image.fault and image.turned_size != image.size:
            declared = Size(record.height, record.width)
            votes += (declared == image.turned_size) - (declared == image.size)
    return votes > 0


def orientation_of_boxes(record: Record, image: ImageFacts, applied: bool) -> int:
    """The EXIF orientation to apply to the image so that the boxes fit it.

    A reader whose boxes are fractions has turned the image already. Of an image without a declared size it is EXIF's. A
    declared size tells a turn of 90 degrees; where the turn changes no size, `applied` decides.
    """
    if record.orientation != 1:
        return record.orientation
    declared = Size(record.height, record.width)
    if 0 in declared:
        return image.orientation
    if image.turned_size == image.size:
        return image.orientation if applied else 1
    return image.orientation if declared == image.turned_size else 1


def _look_at(path: Path, root: Path, max_pixels: int, read_outside: bool) -> ImageFacts:
    outside = ""
    if not inside(root, path):
        outside = f"{path} leads to {os.path.realpath(path)}, which is not below {root}"
        if not read_outside:
            return ImageFacts("outside_root", outside, outside=outside)
    try:
        data = read_file(path)
    except FileNotFoundError:
        return ImageFacts("missing_image", f"{path} does not exist", outside=outside)
    except (OSError, ValueError) as error:
        return ImageFacts("unreadable_image", f"{path}: {getattr(error, 'strerror', None) or error}", outside=outside)
    try:
        size = Size(*image_size(data, path.name))
        if size.height * size.width > max_pixels:
            return ImageFacts("too_large_image", f"{size} is more than {max_pixels} pixels", outside=outside)
        if not is_complete(data):
            return ImageFacts("truncated_image", f"{len(data)} bytes, the file breaks off before the end of the image",
                              outside=outside)
        stored = decode_stored(data, path.name, max_pixels)
        if is_cut_short(data, stored):
            return ImageFacts("truncated_image", "the file has an end, but pixels are missing before it",
                              outside=outside)
    except ImageError as error:
        return ImageFacts("unreadable_image", str(error).removeprefix(f"{path.name}: "), outside=outside)
    return ImageFacts(size=size, orientation=exif_orientation(data), outside=outside, depth=_depth(stored),
                      digest=hashlib.sha256(data).hexdigest())


def _depth(stored: np.ndarray) -> str:
    bits = bits_in_use(stored) if stored.dtype == np.uint16 else 16
    return f"the largest value is {stored.max()}, {bits} of the 16 bits are in use" if bits < 16 else ""
