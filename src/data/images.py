"""Decodes images from bytes to uint8 RGB; the only decoder of the project.

Sizes and orientation are read from the headers, so that an image over the limit is never decoded.
JPEG: ITU-T T.81 annex B; PNG: RFC 2083; EXIF: TIFF 6.0 section 2.
"""
from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Iterator, Optional, Union

import cv2
import numpy as np

from src.data.cut_jpeg import is_cut_short
from src.errors import ImageError
from src.files import read_file

MAX_PIXELS = 100_000_000
# The decoder runs over the whole image for every scan of a JPEG; encoders write about ten.
MAX_SCANS = 32
STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In compressed data FF is followed by 00 or a restart marker; any other byte ends the data.
PIXELS_PER_BYTE = 512    # of a JPEG at most: every block of 8 x 8 pixels takes a bit, whatever it shows
_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ORIENTATION_TAG = 0x0112


def read_image(path: Union[str, Path], orientation: Optional[int] = None,
               max_pixels: Optional[int] = None) -> np.ndarray:
    """Read a file and decode it with `decode_image`. Raises ImageError."""
    try:
        data = read_file(Path(path))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}") from error
    return decode_image(data, path, orientation, max_pixels)


def decode_image(data: bytes, name: object, orientation: Optional[int] = None,
                 max_pixels: Optional[int] = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the bytes of a JPEG, PNG or BMP file; of 16-bit images see `as_8_bits`.

    name: what messages call the image.
    orientation: EXIF orientation to apply (1 = as stored), None = the one in the file.
    max_pixels: limit on width x height, None means `MAX_PIXELS`.
    Raises ImageError for another format, a truncated or damaged file, more pixels than the limit, or a JPEG with more
    than `MAX_SCANS` scans.
    """
    stored = decode_stored(data, name, max_pixels)
    if is_cut_short(data, stored):
        raise ImageError(f"{name}: the file has an end, but pixels are missing before it; fetch it again")
    rgb = cv2.cvtColor(as_8_bits(stored), cv2.COLOR_BGR2RGB)
    return _turned(rgb, exif_orientation(data) if orientation is None else orientation)


def decode_stored(data: bytes, name: object, max_pixels: Optional[int] = None) -> np.ndarray:
    """(H, W, 3) BGR as stored, uint8, or uint16 of a 16-bit PNG. Parameters and errors: see `decode_image`."""
    height, width = image_size(data, name)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if height * width > limit:
        raise ImageError(f"{name}: {width} x {height} is more than {limit} pixels; shrink it, or raise "
                         "max_image_pixels if you trust the file")
    if not is_complete(data):
        raise ImageError(f"{name}: the file breaks off before the end of the image; fetch it again")
    if _jpeg_scans(data) > MAX_SCANS:
        raise ImageError(f"{name}: has more than {MAX_SCANS} scans, each of which is decoded for the whole image; "
                         "save it again")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), STORED)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded: {error.err}") from error
    if bgr is None or bgr.shape[:2] != (height, width):
        raise ImageError(f"{name}: cannot be decoded; it is damaged or of a rare variant. Save it again as JPEG")
    return bgr


def as_8_bits(image: np.ndarray) -> np.ndarray:
    """The image as uint8; of a uint16 image the 8 highest of the bits in use.

    Cameras of 10, 12 or 14 bits store their values in 16 bits as they are: the 8 highest of 16 would be black.
    """
    return image if image.dtype == np.uint8 else (image >> (bits_in_use(image) - 8)).astype(np.uint8)


def bits_in_use(image: np.ndarray) -> int:
    """Bits of the largest value of a uint8 or uint16 image; at least 8."""
    return max(8, int(image.max()).bit_length())


def image_size(data: bytes, name: object = "image") -> tuple[int, int]:
    """(height, width) as stored, read from the header. Raises ImageError."""
    try:
        if data.startswith(b"\xff\xd8"):
            height, width = _jpeg_size(data)
        elif data.startswith(_PNG_MAGIC):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"BM"):
            width, height = _bmp_size(data)
        else:
            raise ImageError(f"{name}: is neither JPEG nor PNG nor BMP (first bytes {bytes(data[:8])!r})")
    except struct.error:
        height = width = 0
    if height < 1 or width < 1:
        raise ImageError(f"{name}: has no readable header; the file is broken")
    return height, width


def exif_orientation(data: bytes) -> int:
    """EXIF orientation 1 to 8 of a JPEG; 1 (as stored) if there is none or it is unreadable."""
    if not data.startswith(b"\xff\xd8"):
        return 1
    for marker, start, end in _jpeg_segments(data):
        if marker == _APP1 and data[start:start + 6] == b"Exif\0\0":
            try:
                return _tiff_orientation(data[start + 6:end])
            except struct.error:
                return 1
    return 1


def encode_jpeg(rgb: np.ndarray, quality: int = 95) -> bytes:
    """JPEG bytes of an (H, W, 3) uint8 RGB image."""
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(f"an image of shape {rgb.shape} cannot be encoded as JPEG")
    return data.tobytes()


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, start and end of its content) in file order; stops at the first invalid segment."""
    position = 2
    while position + 2 <= len(data):
        if data[position] != 0xFF:
            return
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _EOI:
            yield marker, position + 2, position + 2
            return
        if position + 4 > len(data):
            return
        start = position + 4
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        yield marker, start, end
        position = end
        if marker == _SOS:
            scan_end = _MARKER_AFTER_SCAN.search(data, end)
            if scan_end is None:
                return
            position = scan_end.start()


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in _jpeg_segments(data):
        if marker in _FRAMES:
            return struct.unpack_from(">HH", data, start + 1)
    return 0, 0


def _jpeg_scans(data: bytes) -> int:
    """The number of scans; 0 for other formats."""
    return sum(marker == _SOS for marker, _, _ in _jpeg_segments(data)) if data.startswith(b"\xff\xd8") else 0


def _bmp_size(data: bytes) -> tuple[int, int]:
    header_bytes, = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    return width, abs(height)  # negative: the first row is the top


def is_complete(data: bytes) -> bool:
    """Whether the file is complete: cv2 fills missing rows with grey and does not report it."""
    if data.startswith(b"\xff\xd8"):
        height, width = _jpeg_size(data)
        return height * width <= PIXELS_PER_BYTE * len(data) and any(marker == _EOI
                                                                    for marker, _, _ in _jpeg_segments(data))
    if data.startswith(_PNG_MAGIC):
        return _png_is_complete(data)
    try:
        return len(data) >= _bmp_bytes(data)
    except struct.error:
        return False


def _png_is_complete(data: bytes) -> bool:
    """Whether all chunks end inside the file: cv2 allocates what a length field says, up to 4 GB."""
    position, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND" and position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
    return kind == b"IEND" and position <= len(data)


def _bmp_bytes(data: bytes) -> int:
    """The smallest valid file size; for run-length encoded pixels (compression 1 and 2) only the header's size."""
    pixels_start, header_bytes = struct.unpack_from("<II", data, 10)
    width, height = _bmp_size(data)
    if header_bytes == 12:
        bits, compression = struct.unpack_from("<H", data, 24)[0], 0
    else:
        bits, compression = struct.unpack_from("<HI", data, 28)
    row_bytes = (width * bits + 31) // 32 * 4
    return pixels_start + (0 if compression in (1, 2) else row_bytes * height)


def _tiff_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    directory, = struct.unpack_from(order + "I", tiff, 4)
    entries, = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == _ORIENTATION_TAG:
            return value if (kind, count) == (3, 1) and 1 <= value <= 8 else 1
    return 1


def _turned(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """The image upright: orientations 5 to 8 swap rows and columns, the others only mirror."""
    if orientation >= 5:
        rgb = rgb.transpose(1, 0, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(rgb[::rows, ::columns])
