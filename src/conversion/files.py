"""Weights out of whatever file they come in."""
from __future__ import annotations

from pathlib import Path

from src.checkpoint import Weights, read_weights
from src.conversion.pytorch_file import is_pytorch_file, read_pytorch_file
from src.conversion.safetensors_file import read_safetensors
from src.errors import UsageError


def existing_file(path: str) -> Path:
    """The path; raises UsageError when there is no such file."""
    if not Path(path).is_file():
        raise UsageError(f"{path} does not exist; give a .ckpt, .safetensors or .pth file with --ckpt_file")
    return Path(path)


def read_any_weights(path: Path) -> Weights:
    """Weights of a MindSpore .ckpt, a .safetensors or a PyTorch file, whichever it is.

    Raises CheckpointError when it is damaged or holds more than tensors.
    """
    if path.suffix.lower() == ".safetensors":
        return Weights(read_safetensors(path), path)
    if is_pytorch_file(path):
        return Weights(read_pytorch_file(path), path)
    return read_weights(path)
