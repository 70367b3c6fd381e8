"""Reads tensors from PyTorch's files (.pth, .pt), without PyTorch and without running code that the file names.

Such a file consists of a pickle (see src/conversion/pickled.py) and the bytes of its tensors. Both layouts are read:
the zip archive of PyTorch 1.6 and later, and the older one, which starts with a magic number.
"""
from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from src.checkpoint import DAMAGED
from src.conversion.found_tensors import ForeignObject, NamedTensors, find_tensors
from src.conversion.pickled import dictionary, read_pickle
from src.conversion.safetensors_file import widened
from src.errors import CheckpointError
from src.files import MAX_WEIGHT_BYTES, open_input, read_file

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
LEGACY_MAGIC = b"\x80\x02\x8a\n" + LEGACY_MAGIC_NUMBER.to_bytes(10, "little")
BFLOAT16 = "bfloat16"
DTYPES = {"DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16,
          "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
          "BoolStorage": "?"}
WAY_OUT = "Where PyTorch is installed, write the weights alone: torch.save(model.state_dict(), 'weights.pth')"


def is_pytorch_file(path: Path) -> bool:
    """Whether a file starts as PyTorch's do."""
    with open_input(path) as file:
        return file.read(len(LEGACY_MAGIC)).startswith((ZIP_MAGIC, LEGACY_MAGIC))


def read_pytorch_file(path: Path) -> NamedTensors:
    """The weights in a file, bfloat16 widened to float32.

    From a training checkpoint the moving average of the weights is taken, else the weights; the rest is skipped.
    Raises CheckpointError if the file is damaged or holds no dictionary of tensors.
    """
    try:
        content = read_file(path, MAX_WEIGHT_BYTES)
        found, numbers = _read_zip(content) if content.startswith(ZIP_MAGIC) else _read_legacy(content)
        tensors, found_in = find_tensors(found, Tensor)
        return NamedTensors({name: tensor.array(numbers) for name, tensor in tensors.items()}, found_in)
    except ForeignObject as error:
        raise CheckpointError(f"{path} holds {error}, which is not a tensor; only tensors are read. {WAY_OUT}") \
            from None
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a PyTorch file ({path.stat().st_size} bytes): {reason}. It "
                              "may be damaged; copy it again") from None


@dataclass(frozen=True)
class StorageType:
    """A class of storages. dtype: of the numbers in such a storage."""

    dtype: str


@dataclass(frozen=True)
class Storage:
    """A one-dimensional array; tensors are views of it. size: in numbers."""

    dtype: str
    key: str
    size: int

    @property
    def bytes(self) -> int:
        return self.size * (2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize)

    def numbers(self, content) -> np.ndarray:
        """(size,) out of its bytes."""
        if len(content) != self.bytes:
            raise ValueError(f"storage {self.key} has {len(content)} of {self.bytes} bytes")
        return widened(np.frombuffer(content, "<u2")) if self.dtype == BFLOAT16 else np.frombuffer(content, self.dtype)


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self, numbers: Callable[[Storage], np.ndarray]) -> np.ndarray:
        if not all(type(size) is int and size >= 0 for size in (self.offset, *self.shape, *self.strides)) \
                or len(self.shape) != len(self.strides):
            raise ValueError("a tensor has the shape or the strides of none")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        # The second test keeps a file of a few bytes from claiming terabytes by strides of 0.
        if 0 not in self.shape and (last >= self.storage.size or math.prod(self.shape) > self.storage.size):
            raise ValueError(f"a tensor of the shape {self.shape} does not fit into its {self.storage.size} numbers")
        flat = numbers(self.storage)
        if 0 in self.shape:
            return np.zeros(self.shape, flat.dtype)
        strides = [stride * flat.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset:], self.shape, strides, writeable=False)


def _read_zip(content: bytes) -> tuple[Any, Callable]:
    """(the pickled object, function that gives the numbers of a storage)."""
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
    found = _interpret(io.BytesIO(archive.read(pickles[0])), {})
    return found, _read_once(lambda storage: archive.read(f"{folder}/data/{storage.key}"))


def _read_legacy(content: bytes) -> tuple[Any, Callable]:
    """(the pickled object, function that gives the numbers of a storage) of the layout before PyTorch 1.6.

    Such a file has four pickles (magic number, protocol, byte order and sizes of the machine, the object), then the
    keys of the storages, then the size and bytes of each.
    """
    file = io.BytesIO(content)
    storages: dict = {}
    if _interpret(file, {}) != LEGACY_MAGIC_NUMBER:
        raise ValueError("it does not start with PyTorch's magic number")
    _protocol, machine = _interpret(file, {}), _interpret(file, {})
    if machine.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    found, keys = _interpret(file, storages), _interpret(file, {})
    places = {}
    for key in keys:
        if not isinstance(key, str) or file.read(8) != storages[key].size.to_bytes(8, "little"):
            raise ValueError("a storage has not the size that its tensors expect")
        places[key] = file.tell()
        file.seek(storages[key].bytes, io.SEEK_CUR)
    view = memoryview(content)
    return found, _read_once(lambda storage: view[places[storage.key]:places[storage.key] + storage.bytes])


def _read_once(storage_bytes: Callable) -> Callable[[Storage], np.ndarray]:
    """Storage -> its numbers. A storage that many tensors share is read once: the size of the file bounds the memory.
    """
    known = {}

    def numbers(storage: Storage) -> np.ndarray:
        if storage not in known:
            known[storage] = storage.numbers(storage_bytes(storage))
        return known[storage]

    return numbers


def _interpret(file: io.BytesIO, storages: dict):
    """The object of the next pickle in `file`; `storages` collects the storages that its tensors use."""
    def refer(reference) -> Storage:
        kind, storage_type, key, _device, size, *view = reference
        is_view = view not in ([], [None])
        if kind != "storage" or not isinstance(storage_type, StorageType) or is_view or not isinstance(key, str) \
                or type(size) is not int or size < 0:
            raise ValueError("the pickle refers to something that is no storage")
        storage = Storage(storage_type.dtype, key, size)
        if storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key} is described twice, differently")
        return storage

    return read_pickle(file, KNOWN, refer)


def _rebuild_tensor(storage, offset, shape, strides, *_requires_grad_and_hooks) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor without a storage")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


KNOWN = {
    "collections.OrderedDict": dictionary,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_requires_grad_and_hooks: tensor,
    **{f"{module}.{name}": StorageType(dtype) for module in ("torch", "torch.storage")
       for name, dtype in DTYPES.items()},
}
