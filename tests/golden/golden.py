"""Reads the numbers measured on the old zoo; weights and pictures come from recipe.py."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import recipe

LIMITS = tuple(2 ** power for power in range(8, 15)) + (40000,)


class Golden:
    """The measurements of one model: a folder beside this file."""

    def __init__(self, model: str):
        self.model = model
        self.folder = Path(__file__).resolve().parent / model

    def read(self, name: str) -> dict:
        with np.load(self.folder / f"{name}.npz") as file:
            return dict(file)

    def parameters(self) -> list:
        """(key, shape, trainable) of every parameter in a checkpoint of the zoo."""
        rows = json.loads((self.folder / "params.json").read_text(encoding="utf-8"))["params"]
        return [(key, tuple(shape), trainable) for key, shape, _, trainable in rows]

    def value(self, key: str, shape) -> np.ndarray:
        """The value this parameter had while the numbers were measured."""
        return recipe.value(key, shape, self.model)


def sampled_names(measured: dict, prefix: str = "") -> list:
    """Names of the arrays below `prefix` that are stored as a strided sample."""
    ending = ".sample"
    return [key[len(prefix):-len(ending)] for key in measured if key.startswith(prefix) and key.endswith(ending)]


def sample_error(measured: dict, name: str, array: np.ndarray) -> float:
    """Largest difference between `array` and the stored sample of `name`, in the array's own unit."""
    assert array.shape == tuple(measured[f"{name}.shape"]), name
    want = measured[f"{name}.sample"]
    # The sample's limit is not stored; it is the one that gives as many values.
    got = next(values for values, _ in (recipe.sample(array, limit) for limit in LIMITS) if values.size == want.size)
    return float(np.abs(got.astype(np.float64) - want).max())


def spread(measured: dict, name: str) -> float:
    """Standard deviation of the array `name`, the yardstick for differences of feature maps."""
    return float(measured[f"{name}.stats"][1])


def stats_error(measured: dict, name: str, array: np.ndarray) -> float:
    """Largest difference of mean, standard deviation, minimum and maximum, in the array's own unit."""
    assert array.shape == tuple(measured[f"{name}.shape"]), name
    values = array.astype(np.float64)
    got = [values.mean(), values.std(), values.min(), values.max()]
    return float(np.abs(got - measured[f"{name}.stats"]).max())
