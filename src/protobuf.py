"""Messages of Protocol Buffers, field by field, without a description of what they hold.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""
from __future__ import annotations

from typing import Iterator, NamedTuple

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SIZES = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES = 10


class Field(NamedTuple):
    """Of a message. kind: how it is written; a VARINT is an integer, the other kinds have content."""

    number: int
    kind: int
    integer: int
    content: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message of Protocol Buffers; raises ValueError where one does not lie inside it."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        integer, size = 0, SIZES.get(kind, 0)
        if kind == VARINT:
            integer, place = _varint(message, place)
        elif kind == BYTES:
            size, place = _varint(message, place)
        elif kind not in SIZES:
            raise ValueError(f"a field is of the kind {kind}")
        if size > len(message) - place:
            raise ValueError(f"a field of {size} bytes, where {len(message) - place} are left")
        yield Field(number, kind, integer, message[place:place + size])
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """(integer, place behind it)."""
    number = 0
    for index, byte in enumerate(message[place:place + VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number, place + index + 1
    raise ValueError("an integer does not end")
