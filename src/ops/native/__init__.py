"""Operators of our own in MindSpore's graphs on a CPU, written in C++; an optional library, see docs/performance.md.

The sources are built once per environment (`make native`). A program that may use the library calls `use` before it
builds a network: cells ask `in_use` when they are made. Exported graphs need MindSpore's operators, so export.py calls
`leave`.
"""
from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, Callable, Optional

from src.ops.native.library import failure, find

NAME = "native operators"
_library: Optional[Path] = None


def use(runtime: Any) -> str:
    """Use the library in this process where it fits and the settings want it; returns a sentence that says which.

    runtime: settings device_target, native_ops, runtime_num_threads.
    """
    leave()
    if runtime.device_target != "CPU":
        return f"{NAME}: none, they are for a CPU"
    if not runtime.native_ops:
        return f"{NAME}: off (native_ops)"
    path = find()
    if path is None:
        return f"{NAME}: none ({failure()})"
    return use_library(path, runtime.runtime_num_threads)


def use_library(path: Path, threads: Optional[int] = None) -> str:
    """Use the library file `path`. threads: of its operators; None = one per core that this process may use."""
    global _library
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        return f"{NAME}: none ({error})"
    if threads:
        loaded.set_threads(threads)
    _library = path
    return f"{NAME}: in use"


def leave() -> None:
    """Networks that are built from now on consist of MindSpore's operators."""
    global _library
    _library = None


def in_use() -> bool:
    return _library is not None


def operator(function: str, shapes: Callable, types: Callable, **settings: Any) -> Any:
    """MindSpore's operator for a function of the library.

    shapes, types: from those of the inputs to those of the outputs. settings: what `shapes` depends on besides. They
    become attributes: in PyNative mode MindSpore takes operators with the same attributes for one, and would return
    the shapes of the other.
    """
    from mindspore import ops

    made = ops.Custom(f"{_library}:{function}", shapes, types, func_type="aot")
    for name, value in settings.items():
        made.add_prim_attr(name, str(value))
    return made
