"""Reads NumPy arrays from a pickle, as in detectron2's model zoo (.pkl), without running code that the file names.

NumPy writes an array as a call of `_reconstruct`, followed by the state (version, shape, dtype, Fortran order, bytes).
Since protocol 5 it writes a call of `_frombuffer`.
"""
from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Optional

import numpy as np

from src.checkpoint import DAMAGED
from src.conversion.found_tensors import ForeignObject, NamedTensors, find_tensors
from src.conversion.pickled import Stateful, dictionary, read_pickle
from src.errors import CheckpointError
from src.files import MAX_WEIGHT_BYTES, open_input, read_file

PICKLE_BEGINNINGS = (b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5")
CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
BYTE_ORDERS = ("<", ">", "=", "|")


def is_pickle(path: Path) -> bool:
    """Whether a file starts as pickles since protocol 2 do."""
    with open_input(path) as file:
        return file.read(2) in PICKLE_BEGINNINGS


def read_numpy_pickle(path: Path) -> NamedTensors:
    """The arrays in a file; if it is a training checkpoint, the weights in it.

    Raises CheckpointError if the file is damaged or holds no dictionary of arrays.
    """
    try:
        content = read_file(path, MAX_WEIGHT_BYTES)
        found, found_in = find_tensors(read_pickle(io.BytesIO(content), KNOWN, _no_reference), PickledArray)
        return NamedTensors({name: array.read() for name, array in found.items()}, found_in)
    except ForeignObject as error:
        raise CheckpointError(f"{path} is a pickle that holds {error}, which is not an array of NumPy; only these are "
                              "read, as detectron2's model zoo has them") from None
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a pickle of NumPy's arrays ({path.stat().st_size} bytes): "
                              f"{reason}. It may be damaged; copy it again") from None


class PickledDtype(Stateful):
    """What stands for a dtype: one of CODES, whose byte order comes as its state."""

    def __init__(self, code=None, *_align_and_copy):
        if code not in CODES:
            raise ValueError(f"an array has numbers of the kind {str(code)[:20]!r}")
        self.dtype = np.dtype(code)

    def set_state(self, state) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in BYTE_ORDERS:
            raise ValueError("a dtype has no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray(Stateful):
    """What stands for an array until its content has come."""

    def __init__(self, *_class_shape_and_code) -> None:
        self.content: Optional[tuple] = None

    def set_state(self, state) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array has a state of another form")
        _version, shape, dtype, columns_first, raw = state
        self.content = raw, dtype, shape, "F" if columns_first is True else "C"

    def read(self) -> np.ndarray:
        if self.content is None:
            raise ValueError("an array has no content")
        raw, dtype, shape, order = self.content
        if isinstance(raw, str):  # as Python 2 wrote bytes
            raw = raw.encode("latin-1")
        if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, PickledDtype) or order not in ("C", "F") \
                or not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape) \
                or math.prod(shape) * dtype.dtype.itemsize != len(raw):
            raise ValueError("an array has content that does not fit its shape")
        return np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)


def _from_buffer(*content) -> PickledArray:
    if len(content) != 4:
        raise ValueError("an array has content of another form")
    array = PickledArray()
    array.content = content
    return array


def _encoded(text=None, encoding=None, *_errors) -> bytes:
    """How protocol 2 writes bytes in Python 3."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("a text is encoded in another way than bytes are")
    return text.encode("latin-1")


def _no_bytes(*content) -> bytes:
    """How protocol 2 writes none."""
    if content:
        raise ValueError("bytes are made of something")
    return b""


def _no_reference(_reference) -> None:
    raise ValueError("the pickle refers to something outside of it")


KNOWN = {
    "collections.OrderedDict": dictionary,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": _no_bytes,
    "numpy.dtype": PickledDtype,
    "numpy.ndarray": "the class of an array",
    **{f"numpy.{core}.multiarray._reconstruct": PickledArray for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
