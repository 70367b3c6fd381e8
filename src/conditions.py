"""Settings that weights need in the network: stored in converted checkpoints, recognised in those of the old zoo."""
from __future__ import annotations

import math
from typing import Optional

from src.checkpoint import Weights
from src.errors import CheckpointError


def check_conditions(weights: Weights, network, detector) -> None:
    """Raises CheckpointError if the network's settings differ from those that the weights were trained with."""
    have = {**_settings(detector.config), **detector.conditions(), "norm_eps": norm_eps(network.backbone)}
    unmet = {key: value for key, value in weights.conditions.items() if not _same(value, have.get(key))}
    if "norm_eps" in unmet:
        raise CheckpointError(f"{weights.path} was converted for batch norms with an epsilon of {unmet['norm_eps']}, "
                              f"{detector.config.model.model_name} has {have['norm_eps']}; convert the original file "
                              f"again, with --model {detector.config.model.model_name}")
    if unmet:
        flags = " ".join(f"--{key} {as_flag(value)}" for key, value in unmet.items())
        raise CheckpointError(f"{weights.path} was trained with other settings; add {flags}")


def with_zoo_settings(config, weights: Weights, detector_class):
    """The configuration with the settings that a checkpoint of the old zoo needs.

    Prints one line that names the settings which differ from those given.
    """
    needed = {} if weights.model_name else detector_class.settings_of_zoo(weights.arrays)
    given = _settings(config)
    changed = {key: value for key, value in needed.items() if given[key] != value}
    if not changed:
        return config
    listed = ", ".join(f"{key} {as_flag(value)}" for key, value in changed.items())
    print(f"{weights.path} is a checkpoint of the old zoo, used as it was trained: {listed}")
    return config.replace(**changed)


def _settings(config) -> dict:
    return {key: value for section in config.model_dump().values() for key, value in section.items()}


def _same(wanted, have) -> bool:
    if isinstance(wanted, list) and isinstance(have, list):
        return len(wanted) == len(have) and all(map(_same, wanted, have))
    if isinstance(wanted, float) and isinstance(have, float):
        return math.isclose(wanted, have, rel_tol=1e-5)
    return wanted == have


def as_flag(value) -> str:
    """A setting as text for the command line."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def norm_eps(backbone) -> Optional[float]:
    """Epsilon of the batch norms of a backbone, None when it has none."""
    from mindspore import nn

    return next((float(cell.eps) for _, cell in backbone.cells_and_names() if isinstance(cell, nn.BatchNorm2d)), None)
