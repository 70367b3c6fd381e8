"""From which score on a detection is shown and counted: the score threshold with the best F1 of an evaluation.

It is stored beside the model (`best_map.thresholds.json` beside `best_map.ckpt`) and goes along when it is exported.
"""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Optional, Sequence

from src.errors import CheckpointError
from src.evaluation.analysis import WorkingPoint, f1_curve
from src.evaluation.matching import ImageBoxes
from src.files import parse_json, read_file, write_file

DEFAULT_THRESHOLD = 0.3   # of a model without a stored evaluation
ENDING = ".thresholds.json"


@dataclass(frozen=True)
class Thresholds:
    """The score thresholds with the best F1 at IoU 0.5 of one evaluation.

    threshold, f1: over all classes together. per_class: by class name; None for a class of which nothing was found
    right. split, images: what was evaluated.
    """

    threshold: float
    f1: float
    per_class: dict[str, Optional[dict[str, float]]]
    split: str
    images: int


class ScoreThreshold(NamedTuple):
    """The least score that counts, and where the number comes from."""

    value: float
    reason: str

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.reason})"


def measure_thresholds(images: Sequence[ImageBoxes], classes: Sequence[str], split: str) -> Optional[Thresholds]:
    """The thresholds of an evaluation; None where no detection is right."""
    best = f1_curve(images).best
    if best is None:
        return None
    per_class = {name: f1_curve(images, label).best for label, name in enumerate(classes)}
    return Thresholds(best.threshold, best.f1, {name: _as_dict(point) for name, point in per_class.items()}, split,
                      len(images))


def _as_dict(point: Optional[WorkingPoint]) -> Optional[dict[str, float]]:
    return None if point is None else {"threshold": point.threshold, "f1": point.f1}


def thresholds_path(model: Path) -> Path:
    """The file beside a model that holds its thresholds."""
    return model.with_name(model.stem + ENDING)


def store_thresholds(model: Path, thresholds: Optional[Thresholds]) -> None:
    """Write them beside the model; with None remove those that lie there, which another evaluation gave.

    Raises OSError.
    """
    path = thresholds_path(model)
    if thresholds is None:
        path.unlink(missing_ok=True)
    else:
        write_file(path, json.dumps(asdict(thresholds), indent=1, ensure_ascii=False))


def stored_thresholds(model: Path, description: Optional[dict] = None) -> Optional[Thresholds]:
    """The thresholds beside a model, or else those of the description of an exported model; None without any.

    Raises CheckpointError when they cannot be read.
    """
    path = thresholds_path(model)
    if path.is_file():
        try:
            return _parsed(parse_json(read_file(path)))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); evaluate the model again with eval.py, or delete "
                                  "the file") from None
    content = (description or {}).get("thresholds")
    if content is None:
        return None
    try:
        return _parsed(content)
    except ValueError as error:
        raise CheckpointError(f"the description file of {model} holds thresholds that cannot be read ({error}); "
                              "export the model again") from None


def _parsed(content: Any) -> Thresholds:
    if not isinstance(content, dict):
        raise ValueError("they are no dictionary")
    try:
        thresholds = Thresholds(**content)
    except TypeError as error:
        raise ValueError(str(error).replace("Thresholds.__init__() ", "")) from None
    for name in ("threshold", "f1"):
        value = getattr(thresholds, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"{name} is {value!r}, not a number from 0 to 1")
    if not isinstance(thresholds.per_class, dict):
        raise ValueError("per_class is no dictionary")
    return thresholds


def score_threshold(setting: Optional[float], thresholds: Optional[Thresholds]) -> ScoreThreshold:
    """The threshold to use: the setting report_score_threshold, else the best F1, else the default."""
    if setting is not None:
        return ScoreThreshold(setting, "setting report_score_threshold")
    if thresholds is not None:
        return ScoreThreshold(thresholds.threshold, f"best F1, {thresholds.f1:.3f}, on the {thresholds.images} images "
                                                    f"of the {thresholds.split} split")
    return ScoreThreshold(DEFAULT_THRESHOLD, "default; eval.py stores the one with the best F1 beside the model")
