"""Finds fonts on this machine that have the characters of a text, for drawing on images and in plots."""
from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.printable import printable

Colour = tuple


@functools.cache
def font_files() -> tuple[str, ...]:
    """Font files: DejaVu Sans, which comes with matplotlib and has Latin, Greek and Cyrillic letters, then the upright
    fonts of the system."""
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    def is_slanted_or_bold(path: str) -> bool:
        return any(word in Path(path).stem.lower() for word in ("bold", "oblique", "italic", "black", "light", "thin"))

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return str(own), *sorted(findSystemFonts(), key=lambda path: (is_slanted_or_bold(path), path))


@functools.lru_cache(maxsize=256)
def _characters(path: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):     # a font that FreeType cannot read
        return frozenset()


@functools.lru_cache(maxsize=1024)
def font_for(text: str) -> Optional[str]:
    """The file of the first font that has every character of the text, or None."""
    needed = {ord(character) for character in text if not character.isspace()}
    return next((path for path in font_files() if needed <= _characters(path)), None)


def drawable_names(classes: Sequence[str]) -> list[str]:
    """The class names as they can be drawn. The third class becomes "class 3" if no font of this machine has the
    characters of its name; a message says so once."""
    names = []
    for number, name in enumerate(map(printable, classes), 1):
        if font_for(name) is None:
            _say_once(name, number)
            names.append(f"class {number}")
        else:
            names.append(name)
    return names


_said: list[str] = []


def _say_once(name: str, number: int) -> None:
    if not _said:
        _said.append(name)
        print(f"no font of this machine has the characters of the class name '{name}', so images and plots show 'class "
              f"{number}'; install one that has them, for Chinese, Japanese and Korean for example the Debian package "
              "fonts-noto-cjk", file=sys.stderr)


def drawable(text: str) -> str:
    """The text, with escapes for control characters, and for everything if no font has its characters."""
    text = printable(text)
    return text if font_for(text) is not None else text.encode("ascii", "backslashreplace").decode("ascii")


class Text:
    """A line of text in a font that has its characters (see `drawable` and `drawable_names`).

    size: of the letters, in pixels. width, height: of the line, in pixels; all texts of a font have the same height.
    """

    def __init__(self, text: str, size: int):
        self.text = drawable(text)
        self.font = _font(str(font_for(self.text)), size)
        left, _, right, _ = self.font.getbbox(self.text)
        ascent, descent = self.font.getmetrics()
        self.width, self.height = int(np.ceil(right - min(left, 0))), ascent + descent

    def draw(self, canvas: np.ndarray, x: int, y: int, ink: Colour) -> None:
        """Draw the text on an (H, W, 3) uint8 canvas, in place, with its upper left corner at (x, y)."""
        top, left = max(y, 0), max(x, 0)
        part = canvas[top:max(y + self.height, 0), left:max(x + self.width, 0)]
        if part.size:
            image = Image.fromarray(np.ascontiguousarray(part))
            ImageDraw.Draw(image).text((x - left, y - top), self.text, fill=ink, font=self.font)
            part[:] = np.asarray(image)


@functools.lru_cache(maxsize=64)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def family_of(path: str) -> str:
    """Registers a font file with matplotlib and returns the name under which matplotlib knows it."""
    from matplotlib.font_manager import FontProperties, fontManager

    if all(entry.fname != path for entry in fontManager.ttflist):
        fontManager.addfont(path)
    return FontProperties(fname=path).get_name()
