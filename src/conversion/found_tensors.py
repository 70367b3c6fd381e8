"""Finds the weights in a pickled file: a state_dict, or a training checkpoint that contains one."""
from __future__ import annotations

from typing import Any, NamedTuple

from src.conversion.pickled import Foreign

# Where training programs keep the weights in a file that holds more: torchvision's references (model, model_ema), timm
# (state_dict_ema), mmengine and Lightning (state_dict), detectron2 (model), tutorials. Moving averages are what such
# programs evaluate.
EMA_KEYS = ("model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "ema")
WEIGHT_KEYS = ("state_dict", "model", "model_state_dict", "net", "module")
DEEPEST = 3


class NamedTensors(NamedTuple):
    """arrays: {name: array}. found_in: their place in a file that holds more; else empty."""

    arrays: dict
    found_in: str


class ForeignObject(Exception):
    """An object of another kind takes the place of a tensor."""


class FoundTensors(NamedTuple):
    """tensors: {name: object of the file's kind of tensor}. found_in: as in NamedTensors."""

    tensors: dict[str, Any]
    found_in: str


def find_tensors(found, kind: type) -> FoundTensors:
    """The tensors, objects of `kind`, in the object of a file.

    Raises ForeignObject if an object of another kind takes the place of a tensor, ValueError if there are none.
    """
    # mmengine exchanges the two when it saves: its state_dict is the moving average.
    exchanged = isinstance(found, dict) and "message_hub" in found and "ema_state_dict" in found
    keys = WEIGHT_KEYS if exchanged else EMA_KEYS + WEIGHT_KEYS
    path: list[str] = []
    while isinstance(found, dict) and len(path) < DEEPEST:
        key = next((key for key in keys if isinstance(found.get(key), dict)), None)
        if key is None:
            break
        path.append(key)
        found = found[key]
    _require_tensors(found, kind)
    averaged = exchanged or not set(EMA_KEYS).isdisjoint(path)
    return FoundTensors(found, ".".join(path) + (" (moving average of the weights)" if averaged else ""))


def _require_tensors(found, kind: type) -> None:
    if not isinstance(found, dict):
        raise ForeignObject(_called(found) if isinstance(found, Foreign) else
                            f"{_called(found)} where a dictionary of tensors should be")
    if not found:
        raise ValueError("it holds no tensors")
    for name, value in sorted(found.items(), key=lambda item: not isinstance(item[1], Foreign)):
        if isinstance(name, Foreign):
            raise ForeignObject(f"a {name.name}")
        if not isinstance(name, str) or not isinstance(value, kind):
            raise ForeignObject(f"{str(name)[:80]!r}: {_called(value)}")


def _called(value) -> str:
    return f"an object of {value.name}" if isinstance(value, Foreign) else f"a {type(value).__name__}"
