"""Tensors out of PyTorch's files (.pth, .pt), without PyTorch and without running anything that the file says.

Such a file is a pickle, and unpickling calls whatever functions it names. Here nothing can be called: the opcodes are
read one by one and interpreted for containers, numbers, texts and tensors; any other class or function is an error.
Both layouts are read: the zip archive of PyTorch 1.6 and later, and the older one, which starts with a magic number.
"""
from __future__ import annotations

import io
import math
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from src.checkpoint import DAMAGED
from src.conversion.bfloat16 import widened
from src.errors import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
LEGACY_MAGIC = b"\x80\x02\x8a\n" + LEGACY_MAGIC_NUMBER.to_bytes(10, "little")
BFLOAT16 = "bfloat16"
DTYPES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16,
          "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
          "BoolStorage": "?"}
# Where programs keep the weights in a file that holds more: training programs of torchvision, and of mmdetection.
WEIGHT_KEYS = ("state_dict", "model")
WAY_OUT = "Where PyTorch is installed, write the weights alone: torch.save(model.state_dict(), 'weights.pth')"


def is_pytorch_file(path: Path) -> bool:
    """Whether a file starts as PyTorch's do."""
    with path.open("rb") as file:
        return file.read(len(LEGACY_MAGIC)).startswith((ZIP_MAGIC, LEGACY_MAGIC))


def read_pytorch_file(path: Path) -> dict:
    """Arrays by name, bfloat16 widened to float32.

    Raises CheckpointError when the file is damaged or holds anything but named tensors.
    """
    try:
        content = path.read_bytes()
        found, storage_bytes = _read_zip(content) if content.startswith(ZIP_MAGIC) else _read_legacy(content)
        return {name: tensor.array(storage_bytes) for name, tensor in _named_tensors(found).items()}
    except ForeignObject as error:
        raise CheckpointError(f"{path} holds {error}, which is not a tensor; only tensors are read. {WAY_OUT}") \
            from None
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a PyTorch file ({path.stat().st_size} bytes): {reason}. It "
                              "may be damaged; copy it again") from None


class ForeignObject(Exception):
    """The file wants to build something else than a tensor or a container."""


@dataclass(frozen=True)
class Storage:
    """A run of numbers that tensors are views of."""

    dtype: str
    key: str
    size: int

    @property
    def bytes(self) -> int:
        return self.size * (2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, all in numbers of elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self, storage_bytes: Callable[[Storage], bytes]) -> np.ndarray:
        sizes = (self.offset, *self.shape, *self.strides)
        if not all(type(size) is int and size >= 0 for size in sizes) or len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor has the shape {self.shape} and the strides {self.strides}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        # The second test keeps a file of a few bytes from claiming terabytes by strides of 0.
        if 0 not in self.shape and (last >= self.storage.size or math.prod(self.shape) > self.storage.size):
            raise ValueError(f"a tensor of the shape {self.shape} does not fit into its {self.storage.size} numbers")
        content = storage_bytes(self.storage)
        if len(content) != self.storage.bytes:
            raise ValueError(f"storage {self.storage.key} has {len(content)} of {self.storage.bytes} bytes")
        if self.storage.dtype == BFLOAT16:
            flat = widened(np.frombuffer(content, "<u2"))
        else:
            flat = np.frombuffer(content, self.storage.dtype)
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset:], self.shape, strides, writeable=False)


def _named_tensors(found) -> dict:
    for key in WEIGHT_KEYS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict):
        raise ForeignObject(f"a {type(found).__name__} where a dictionary of tensors should be")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ForeignObject(f"{str(name)[:80]!r}: a {type(value).__name__}")
    return found


def _read_zip(content: bytes) -> tuple:
    """(the pickled object, function that gives the bytes of a storage)."""
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or \
            sum(entry.file_size for entry in entries) > len(content):
        raise ValueError("it is a zip archive, but compressed, which PyTorch's are not")
    pickles = [entry.filename for entry in entries if entry.filename.split("/")[1:] == ["data.pkl"]]
    if len(pickles) != 1:
        raise ValueError("it is a zip archive, but without a data.pkl")
    folder = pickles[0].split("/")[0]
    if f"{folder}/byteorder" in archive.namelist() and archive.read(f"{folder}/byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    found = _interpret(io.BytesIO(archive.read(pickles[0])))
    return found, lambda storage: archive.read(f"{folder}/data/{storage.key}")


def _read_legacy(content: bytes) -> tuple:
    """Four pickles - magic number, protocol, about the machine, the object - then keys, then sizes and bytes."""
    file = io.BytesIO(content)
    if _interpret(file) != LEGACY_MAGIC_NUMBER:
        raise ValueError("it does not start with PyTorch's magic number")
    _protocol, machine = _interpret(file), _interpret(file)
    if machine.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    storages = {}
    found, keys = _interpret(file, storages), _interpret(file)
    places = {}
    for key in keys:
        if file.read(8) != storages[key].size.to_bytes(8, "little"):
            raise ValueError(f"storage {key} has not the size that its tensors expect")
        places[key] = file.tell()
        file.seek(storages[key].bytes, io.SEEK_CUR)
    view = memoryview(content)
    return found, lambda storage: view[places[storage.key]:places[storage.key] + storage.bytes]


def _interpret(file, storages: dict | None = None):
    """The object of the next pickle in `file`; `storages` collects the storages that its tensors use."""
    machine = _Machine({} if storages is None else storages)
    try:
        for opcode, argument, _position in pickletools.genops(file):
            machine.step(opcode.name, argument)
        return machine.stack.pop()
    except IndexError:
        raise ValueError("the pickle takes more than it has put down") from None


class _Global:
    """A class or function that the file names; only those of BUILDERS and DTYPES are ever looked at."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name
        self.full_name = f"{module}.{name}"
        if self.full_name not in BUILDERS and not self.is_storage:
            raise ForeignObject(f"an object of {self.full_name[:200]}")

    @property
    def is_storage(self) -> bool:
        return self.module in ("torch", "torch.storage") and self.name in DTYPES


def _rebuild_tensor(storage, offset, shape, strides, *_requires_grad_and_hooks) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


BUILDERS = {
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_requires_grad_and_hooks: tensor,
}


class _Machine:
    """The stack machine of pickle (documented in pickletools), reduced to what a file of tensors needs."""

    MARK = object()
    CONSTANTS = {"NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_DICT": dict,
                 "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
    TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
    LITERALS = {"INT", "LONG", "LONG1", "BININT", "BININT1", "BININT2", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
                "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
    NO_EFFECT = {"PROTO", "FRAME", "STOP"}

    def __init__(self, storages: dict):
        self.stack = []
        self.memo = {}
        self.storages = storages

    def step(self, name: str, argument) -> None:
        stack = self.stack
        if name in self.LITERALS:
            stack.append(argument)
        elif name in self.CONSTANTS:
            stack.append(self.CONSTANTS[name]())
        elif name in self.TUPLES:
            stack[-self.TUPLES[name]:] = [tuple(self._top(self.TUPLES[name]))]
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name == "MARK":
            stack.append(self.MARK)
        elif name == "GLOBAL":
            stack.append(_Global(*argument.split(" ", 1)))
        elif name not in self.NO_EFFECT:
            getattr(self, "_" + name.lower(), self._unknown)()

    def _top(self, count: int) -> list:
        if len(self.stack) < count:
            raise IndexError
        return self.stack[-count:]

    def _to_mark(self) -> list:
        values = []
        while self.stack[-1] is not self.MARK:
            values.append(self.stack.pop())
        self.stack.pop()
        return values[::-1]

    def _unknown(self) -> None:
        raise ValueError("the pickle uses an opcode that no file of tensors needs")

    def _tuple(self) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _list(self) -> None:
        self.stack.append(self._to_mark())

    def _append(self) -> None:
        self._extend([self.stack.pop()])

    def _appends(self) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("the pickle appends to something that is no list")
        self.stack[-1].extend(values)

    def _dict(self) -> None:
        values = self._to_mark()
        self.stack.append(dict(zip(values[::2], values[1::2])))

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _setitems(self) -> None:
        self._update(self._to_mark())

    def _update(self, values: list) -> None:
        if not isinstance(self.stack[-1], dict):
            raise ValueError("the pickle sets a key of something that is no dictionary")
        self.stack[-1].update(zip(values[::2], values[1::2]))

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_Global(str(module), str(name)))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or function.is_storage or not isinstance(arguments, tuple):
            raise ValueError("the pickle calls something that is no function")
        self.stack.append(BUILDERS[function.full_name](*arguments))

    def _build(self) -> None:
        """State of an object: the versions of layers that a dictionary of weights carries as an attribute."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise ValueError("the pickle gives a state to something that is no dictionary")

    def _binpersid(self) -> None:
        kind, storage_type, key, _device, size, *view = self.stack.pop()
        is_view = view not in ([], [None])
        if kind != "storage" or not isinstance(storage_type, _Global) or not storage_type.is_storage or is_view \
                or not isinstance(key, str) or type(size) is not int or size < 0:
            raise ValueError("the pickle refers to something that is no storage")
        storage = Storage(DTYPES[storage_type.name], key, size)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described twice, differently")
        self.stack.append(storage)
