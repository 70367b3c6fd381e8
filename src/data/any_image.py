"""Reads images for prediction, also in formats that data sets may not contain."""
from __future__ import annotations

import io
from pathlib import Path
from typing import Optional, Union

import cv2
import numpy as np
from PIL import Image

from src.data.images import MAX_PIXELS, as_8_bits, decode_image
from src.errors import ImageError
from src.files import read_file

ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm")
OTHER_KINDS = ("WEBP", "TIFF", "PPM")


def read_any_image(path: Union[str, Path], max_pixels: Optional[int] = None) -> np.ndarray:
    """Read a file and decode it with `decode_any_image`. Raises ImageError."""
    try:
        data = read_file(Path(path))
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read: {error}") from None
    return decode_any_image(data, path, max_pixels)


def decode_any_image(data: bytes, name: object, max_pixels: Optional[int] = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file's bytes: JPEG, PNG and BMP with `decode_image`; WebP, TIFF and PPM with OpenCV.

    name: what messages call the image. max_pixels: limit on width x height, None means MAX_PIXELS; a larger image is
    not decoded. Raises ImageError.
    """
    try:    # Pillow reads only the header
        with Image.open(io.BytesIO(data), formats=OTHER_KINDS) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return decode_image(data, name, max_pixels=max_pixels)
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    if height * width > limit:
        raise ImageError(f"{name}: {width} x {height} is more than {limit} pixels; shrink it, or raise "
                         "max_image_pixels if you trust the file")
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if bgr is not None and bgr.dtype not in (np.uint8, np.uint16):  # TIFF of floating-point numbers
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"{name}: cannot be decoded: {error.err}") from None
    if bgr is None:
        raise ImageError(f"{name}: cannot be decoded; it is damaged or of a rare variant. Save it again as JPEG")
    return cv2.cvtColor(as_8_bits(bgr), cv2.COLOR_BGR2RGB)
