"""Reads weights from the files of all libraries."""
from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Optional

from src.checkpoint import Weights, read_weights
from src.conversion.numpy_pickle import is_pickle, read_numpy_pickle
from src.conversion.pytorch_file import is_pytorch_file, read_pytorch_file
from src.conversion.safetensors_file import read_safetensors
from src.conversion.tensorflow_files import read_graph, read_tfjs
from src.errors import CheckpointError, UsageError
from src.files import open_input

READABLE = "MindSpore's .ckpt, PyTorch's .pth and .pt (a state_dict or a training checkpoint), .safetensors, " \
    "pickles of NumPy's arrays (detectron2's .pkl), TensorFlow's frozen graphs (.pb) and TensorFlow.js' model.json"
# Formats that are not read: {(position, first bytes): name}, and {ending of the file name: name}.
BEGINNINGS = {
    (0, b"\x89HDF\r\n\x1a\n"): "an HDF5 file, as Keras writes it",
    (0, b"\x93NUMPY"): "an array of NumPy (.npy)",
    (4, b"TFL3"): "a TensorFlow Lite model",
}
ENDINGS = {
    ".onnx": "an ONNX model", ".mindir": "a MindIR, which predict.py and eval.py run as it is",
    ".ms": "a MindSpore Lite model", ".om": "a model for Ascend's runtime",
    ".index": "a part of a TensorFlow checkpoint",
    ".pdparams": "a PaddlePaddle file",
}
TENSORFLOW = {".pb": read_graph, ".json": read_tfjs}
# Prefixes that wrappers put in front of the names: MoCo, DataParallel and moving averages, Lightning.
QUERY_ENCODER, WRAPPERS = "module.encoder_q.", ("module.", "model.")


def existing_file(path: str) -> Path:
    """The path of the file; for a folder, of the model.json in it. Raises UsageError if it does not exist."""
    file = Path(path, "model.json") if os.path.isdir(path) else Path(path)
    if not os.path.isfile(file):
        raise UsageError(f"{file} does not exist; give one of these with --ckpt_file: {READABLE}")
    return file


def read_any_weights(path: Path) -> Weights:
    """The weights in a file of any READABLE format; a wrapper's prefix is removed from the names.

    Raises CheckpointError if the file is damaged, has another format, or holds no dictionary of tensors.
    """
    foreign = foreign_format(path)
    if foreign:
        raise CheckpointError(f"{path} is {foreign}, which is not read here. Weights are read from: {READABLE}")
    if path.suffix.lower() == ".safetensors":
        return _without_prefix(read_safetensors(path), "", path)
    if path.suffix.lower() in TENSORFLOW:
        return Weights(TENSORFLOW[path.suffix.lower()](path), path)
    if is_pytorch_file(path):
        return _without_prefix(*read_pytorch_file(path), path)
    if is_pickle(path):
        return _without_prefix(*read_numpy_pickle(path), path)
    return read_weights(path)


def foreign_format(path: Path) -> Optional[str]:
    """The name of a file's format if it is not READABLE; None if it may be."""
    with open_input(path) as file:
        start = file.read(16)
    for (place, magic), name in BEGINNINGS.items():
        if start[place:].startswith(magic):
            return name
    if start.startswith(b"PK"):
        return _foreign_archive(path)
    if is_pytorch_file(path):
        return None
    if ".data-" in path.name:
        return ENDINGS[".index"]
    return ENDINGS.get(path.suffix.lower())


def _foreign_archive(path: Path) -> Optional[str]:
    try:
        with open_input(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile):
        return None  # damaged, which the reader of PyTorch's archives says
    inner = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in inner:
        return "a TorchScript program (torch.save(torch.jit.load(...).state_dict(), 'weights.pth') takes its weights)"
    if names and all(name.endswith(".npy") for name in names):
        return "an archive of NumPy (.npz)"
    return "a model of Keras" if "model.weights.h5" in names else None


def _without_prefix(arrays: dict, found_in: str, path: Path) -> Weights:
    """The arrays without the prefixes of wrappers, also nested ones. Arrays with another prefix are left out."""
    notes = [found_in] if found_in else []
    while True:
        prefix = next((prefix for prefix in (QUERY_ENCODER, *WRAPPERS) if _is_wrapped(arrays, prefix)), None)
        if prefix is None:
            return Weights(arrays, path, note="; ".join(notes))
        inside = {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}
        others = [name for name in arrays if not name.startswith(prefix)]
        listed = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
        left_out = f" ({len(others)} others left out: {listed})" if others else ""
        notes.append(f"names that begin with {prefix}{left_out}")
        arrays = inside


def _is_wrapped(arrays: dict, prefix: str) -> bool:
    """Whether the prefix is a wrapper's. MoCo's files hold a second encoder; in others most names have the prefix."""
    count = sum(name.startswith(prefix) for name in arrays)
    return count > 0 if prefix == QUERY_ENCODER else 2 * count >= len(arrays) > 0
