"""Checks of single values in annotations. Messages name only the value; the readers add file and id."""
from __future__ import annotations

import difflib
import reprlib
from typing import Optional, Sequence

from src.errors import AnnotationError, ConfigError

# Far above any coordinate, size or area of an image, and small enough not to overflow in float32.
MAX_NUMBER = 1e12


class EntryErrors:
    """Errors of single entries: a converter makes one mistake many times, and one message has to show that."""

    SHOWN = 5

    def __init__(self) -> None:
        self._messages: list[str] = []

    def add(self, where: object, error: AnnotationError) -> None:
        self._messages.append(f"{where}: {error}")

    def check(self) -> None:
        """Raises AnnotationError with the first few, when there are any."""
        if len(self._messages) == 1:
            raise AnnotationError(self._messages[0])
        if self._messages:
            more = len(self._messages) - self.SHOWN
            raise AnnotationError("\n".join([f"{len(self._messages)} entries cannot be read:",
                                             *(f"  {message}" for message in self._messages[:self.SHOWN]),
                                             *([f"  and {more} more"] if more > 0 else [])]))


def unknown_classes(source: object, unknown: Sequence[str], wanted: Sequence[str], known: Sequence[str]) -> ConfigError:
    """The error for names in `classes` that a file with a list of its classes does not have."""
    nearest = {name: difflib.get_close_matches(name, known, n=1) for name in unknown}
    named = ", ".join(f"{name} (the nearest is {near[0]})" if near else name for name, near in nearest.items())
    return ConfigError(f"{source}: has no class named {named}; classes asks for {', '.join(wanted)}; the file has "
                       f"{', '.join(known)}")


def checked_number(value: object) -> float:
    """The value, if it is a finite number of a size that occurs in images."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -MAX_NUMBER < value < MAX_NUMBER:
        raise AnnotationError(f"expected a finite number, found {reprlib.repr(value)}")
    return value


def checked_integer(value: object, minimum: int = 0, maximum: int = 2 ** 63 - 1) -> int:
    """The value as int, if it is a whole number within the limits (1.0 counts as 1)."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not minimum <= value <= maximum:
        raise AnnotationError(f"expected a whole number between {minimum} and {maximum}, "
                              f"found {reprlib.repr(value)}")
    return value


def checked_flag(value: object) -> bool:
    """The value as bool, if it is 0, 1, false or true."""
    if type(value) not in (int, float, bool) or value not in (0, 1):
        raise AnnotationError(f"expected 0 or 1, found {reprlib.repr(value)}")
    return bool(value)


def checked_name(value: object) -> str:
    """The value, if it is a string that can name a file or a class."""
    try:
        if isinstance(value, str) and value and "\0" not in value and value.encode("utf-8"):
            return value
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise AnnotationError(f"expected a name, found {reprlib.repr(value)}")


def number_in(text: Optional[str]) -> float:
    """The number that the text spells."""
    try:
        value = float(text or "")
    except ValueError:
        raise AnnotationError(f"expected a number, found {reprlib.repr(text)}") from None
    return checked_number(value)
