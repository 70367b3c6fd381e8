"""Reads tensors from .safetensors files."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from src.checkpoint import DAMAGED
from src.errors import CheckpointError
from src.files import MAX_WEIGHT_BYTES, parse_json, read_file

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U8": "u1", "BOOL": "?"}
LENGTH_BYTES = 8


def read_safetensors(path: Path) -> dict:
    """Arrays by name, bfloat16 widened to float32; raises CheckpointError when the file is damaged.

    The package's own `safetensors.numpy.load` knows no bfloat16, takes the last of two tensors of one name, and gives
    them in any order.
    """
    try:
        content = read_file(path, MAX_WEIGHT_BYTES)
        tensors = dict(deserialize(content))
        header = content[LENGTH_BYTES:LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")]
        names = parse_json(header)
        return {name: _array(tensors[name]) for name in names if name in tensors}
    except (SafetensorError, *DAMAGED) as error:
        reason = (str(error).strip().splitlines() or ["unknown format"])[0]
        raise CheckpointError(f"{path} cannot be read as a safetensors file ({path.stat().st_size} bytes): {reason}. "
                              "It may be damaged; copy it again") from None


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32: its bits are the upper half of a float32's."""
    return (bits.astype("<u4") << 16).view("<f4")


def _array(tensor: dict) -> np.ndarray:
    array = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]])
    return (widened(array) if tensor["dtype"] == "BF16" else array).reshape(tensor["shape"])
