"""Compares the settings of a model file with the settings of a run.

A checkpoint carries them as `conditions`, the description file beside an exported model as "settings"; the names are
those of Detector.conditions, and norm_eps. The description file has also "built_in", see Detector.built_in. Files of
earlier versions carry none, or a few; those of the old zoo show some by the names and shapes of their weights.
"""
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Iterable, Optional

from src.checkpoint import Statements, Weights, read_statements
from src.description import read_description
from src.errors import ConfigError

# What a training that starts from weights cannot be expected to unlearn: how the backbone sees an image.
OF_THE_BACKBONE = ("backbone_style", "mean", "std", "norm_eps")


def statements_of(path: Path) -> Statements:
    """What a .ckpt, or the description file of an exported model, says; nothing where there is neither.

    Raises CheckpointError for a damaged description file.
    """
    if path.suffix.lower() == ".ckpt":
        return read_statements(path)
    description = read_description(path)
    if not description:
        return Statements()
    settings = {**description.get("settings", {}), **description.get("built_in", {})}
    return Statements(description["model_name"], tuple(description["classes"]), settings)


def check_conditions(weights: Weights, network, detector, only: Optional[Iterable[str]] = None) -> None:
    """Raises ConfigError when a network has other settings than its weights were made with.

    only: see check_settings.
    """
    check_settings(weights.path, weights.conditions, conditions_of(detector, network), detector.config, only)


def with_zoo_settings(config, weights: Weights, detector_class):
    """The configuration with the settings that a checkpoint of the old zoo needs.

    Prints one line that names the settings which differ from those given.
    """
    needed = {} if weights.model_name else detector_class.settings_of_zoo(weights.arrays)
    given = config.values()
    changed = {key: value for key, value in needed.items() if given[key] != value}
    if not changed:
        return config
    listed = ", ".join(f"{key} {as_flag(value)}" for key, value in changed.items())
    print(f"{weights.path} is a checkpoint of the old zoo, used as it was trained: {listed}")
    return config.replace(**changed)


def check_settings(path: Path, made_with: dict, have: dict, config, only: Optional[Iterable[str]] = None) -> None:
    """Raises ConfigError where settings are not those that the file at `path` was made with.

    have: the detector's conditions. only: the names that are compared, all by default; never those of `insist`.
    """
    unmet = {key: value for key, value in differences(made_with, {**config.values(), **have}).items()
             if (only is None or key in only) and key not in config.runtime.insist}
    if not unmet:
        return
    name, known = config.model.model_name, config.values()
    lines = [f"{path} was made with other settings:"]
    for key, (theirs, ours) in unmet.items():
        given = config.source_of(key) if key in known else name
        lines.append(f"  {key}: {as_flag(theirs)}, {given} has {as_flag(ours)}")
    fixed = [key for key in unmet if key not in known]
    if fixed:
        lines.append(f"{', '.join(fixed)} cannot be set for {name}: convert the original weights again with --model "
                     f"{name}, or choose the model that they are of")
    else:
        flags = " ".join(f"--{key} {as_flag(theirs)}" for key, (theirs, _) in unmet.items())
        otherwise = (f"to measure what another value does, insist on yours with --insist {','.join(unmet)}"
                     if path.suffix.lower() == ".ckpt" else "export the checkpoint again with yours")
        lines.append(f"Take the settings of the file with {flags}; or {otherwise}")
    raise ConfigError("\n".join(lines))


def differences(made_with: dict, have: dict) -> dict[str, tuple[Any, Any]]:
    """{name: (what the file was made with, what there is)} where the two are not the same."""
    return {key: (value, have.get(key)) for key, value in made_with.items()
            if key not in have or not same(value, have[key])}


def same(one: Any, other: Any) -> bool:
    """Whether two settings are equal, numbers but for rounding."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=1e-5)
    return type(one) is type(other) and one == other


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_flag(value: Any) -> str:
    """A setting as it is written behind its flag."""
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(item, (list, tuple)) for item in value)
        return json.dumps(value, separators=(",", ":")) if nested else ",".join(map(str, value))
    return "none" if value is None else str(value)


def norm_eps(backbone) -> Optional[float]:
    """Epsilon of the batch norms of a backbone, None when it has none."""
    from mindspore import nn

    return next((float(cell.eps) for _, cell in backbone.cells_and_names() if isinstance(cell, nn.BatchNorm2d)), None)


def conditions_of(detector, network) -> dict:
    """What a checkpoint with the weights of this network has to carry."""
    return {**detector.conditions(), "norm_eps": norm_eps(network.backbone)}
