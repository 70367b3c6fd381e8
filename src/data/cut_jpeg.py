"""JPEG files that were cut short and given an end marker again: decoders fill what is missing with grey."""
from __future__ import annotations

import io
from typing import Optional

import numpy as np
from PIL import Image

GREY = 128      # of coefficients that are all 0
MORE = b"\x55\xaa" * 64      # more coefficients: a decoder that has all it needs does not read them
END = b"\xff\xd9"


def is_cut_short(data: bytes, image: np.ndarray) -> bool:
    """Whether coefficients are missing before the end of a JPEG.

    image: (H, W, 3) as it was decoded. Only where its last pixel is the grey of missing coefficients, the file is
    decoded again with more coefficients: pixels change only where some were missing. A progressive JPEG whose last
    scans are missing is not recognised; it is an image of fewer details.
    """
    if not data.startswith(b"\xff\xd8") or (image[-1, -1] != GREY).any():
        return False
    end = data.rfind(END)
    as_it_is, longer = _pixels(data), _pixels(data[:end] + MORE + data[end:])
    return as_it_is is not None and longer is not None and not np.array_equal(as_it_is, longer)


def _pixels(data: bytes) -> Optional[np.ndarray]:
    """Decoded by Pillow, which does not let libjpeg print warnings without the name of a file."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
