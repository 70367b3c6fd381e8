"""Tensors out of .safetensors files (https://github.com/huggingface/safetensors, "Format")."""
from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from src.checkpoint import DAMAGED
from src.conversion.bfloat16 import widened
from src.errors import CheckpointError

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U8": "u1", "BOOL": "?"}
LENGTH_BYTES = 8


def read_safetensors(path: Path) -> dict:
    """Arrays by name, bfloat16 widened to float32; raises CheckpointError when the file is damaged."""
    try:
        content = path.read_bytes()
        start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        if start > len(content):
            raise ValueError(f"its header should have {start - LENGTH_BYTES} bytes")
        header = json.loads(content[LENGTH_BYTES:start].decode("utf-8"))
        header.pop("__metadata__", None)
        return {name: _array(name, about, content, start) for name, about in header.items()}
    except DAMAGED as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a safetensors file ({path.stat().st_size} bytes): {reason}. "
                              "It may be damaged; copy it again") from None


def _array(name: str, about: dict, content: bytes, start: int) -> np.ndarray:
    dtype, shape, (begin, end) = np.dtype(DTYPES[about["dtype"]]), tuple(about["shape"]), about["data_offsets"]
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(f"{name} has the shape {shape} and lies at {begin} to {end}")
    if end - begin != math.prod(shape) * dtype.itemsize or start + end > len(content):
        raise ValueError(f"{name} {shape} does not fit into its {end - begin} bytes")
    array = np.frombuffer(content, dtype, math.prod(shape), start + begin)
    return (widened(array) if about["dtype"] == "BF16" else array).reshape(shape)
