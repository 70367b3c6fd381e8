"""Which detections are shown and counted: those from the score on that gave the best F1 in an evaluation, and without
boxes that overlap a better one of another class where that gave the better F1.

Both are stored beside the model (`best_map.thresholds.json` beside `best_map.ckpt`), and with an exported model.
"""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterable, NamedTuple, Optional, Sequence

from src.errors import CheckpointError
from src.evaluation.analysis import f1_curve
from src.evaluation.matching import ImageBoxes, detections_by_image
from src.evaluation.predictions import ResultRow
from src.files import parse_json, read_file, write_file
from src.ops.detections import Detections
from src.ops.nms import suppress_across_classes
from src.settings.schema import EvalSection

DEFAULT_THRESHOLD = 0.3   # for a model without a stored evaluation
AGNOSTIC_IOUS = (0.5, 0.6, 0.7)   # of the suppression across classes, which are compared with none
ENDING = ".thresholds.json"


@dataclass(frozen=True)
class Thresholds:
    """The score threshold with the best F1 at IoU 0.5 of one evaluation, over all classes together.

    split, images: what was evaluated. agnostic_nms: IoU of the suppression across classes that the F1 was reached
    with; None = none. f1_classwise: the best F1 without that suppression; None = of an earlier version.
    """

    threshold: float
    f1: float
    split: str
    images: int
    agnostic_nms: Optional[float] = None
    f1_classwise: Optional[float] = None


class ScoreThreshold(NamedTuple):
    """The least score that counts, and where the number comes from.

    agnostic_nms: IoU above which a box that overlaps a better one of any class does not count; None = it does.
    """

    value: float
    reason: str
    agnostic_nms: Optional[float] = None

    def __str__(self) -> str:
        across = "" if self.agnostic_nms is None else (
            f"; without boxes that overlap a better one of any class by an IoU above {self.agnostic_nms:g}")
        return f"{self.value:.3f} ({self.reason}){across}"


def measure_thresholds(images: Sequence[ImageBoxes], split: str) -> Optional[Thresholds]:
    """The thresholds of an evaluation; None if no detection is right."""
    points = {iou: f1_curve([image.suppressed_across_classes(iou) for image in images]).best
              for iou in (None, *AGNOSTIC_IOUS)}
    classwise = points[None]
    if classwise is None:
        return None
    found = {iou: point for iou, point in points.items() if point is not None}
    iou = max(found, key=lambda one: found[one].f1)     # the first of equal ones: none, where nothing is gained
    return Thresholds(found[iou].threshold, found[iou].f1, split, len(images), iou, classwise.f1)


def thresholds_path(model: Path, tile: Optional[int] = None) -> Path:
    """The path of the file with a model's thresholds; detection in tiles has thresholds of its own."""
    return model.with_name(model.stem + ("" if tile is None else f".tile{tile}") + ENDING)


def store_thresholds(model: Path, thresholds: Optional[Thresholds], tile: Optional[int] = None) -> None:
    """Write thresholds beside the model; None removes the file of an earlier evaluation.

    Raises OSError.
    """
    path = thresholds_path(model, tile)
    if thresholds is None:
        path.unlink(missing_ok=True)
    else:
        write_file(path, json.dumps(asdict(thresholds), indent=1, ensure_ascii=False))


def stored_thresholds(model: Path, description: Optional[dict] = None,
                      tile: Optional[int] = None) -> Optional[Thresholds]:
    """The thresholds beside a model, or else, without tiles, in the description of an exported model, or None.

    Raises CheckpointError if they cannot be read.
    """
    path = thresholds_path(model, tile)
    if path.is_file():
        try:
            return _parsed(parse_json(read_file(path)))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); evaluate the model again with eval.py, or delete "
                                  "the file") from None
    content = (description or {}).get("thresholds")
    if content is None or tile is not None:
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
        thresholds = Thresholds(**{name: value for name, value in content.items() if name != "per_class"})
    except TypeError as error:
        raise ValueError(str(error).replace("Thresholds.__init__() ", "")) from None
    for name in ("threshold", "f1", "agnostic_nms", "f1_classwise"):
        value = getattr(thresholds, name)
        if value is None and name in ("agnostic_nms", "f1_classwise"):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f"{name} is {value!r}, not a number from 0 to 1")
    return thresholds


def score_threshold(settings: EvalSection, thresholds: Optional[Thresholds]) -> ScoreThreshold:
    """The threshold to use: the setting report_score_threshold, else the best F1, else the default; and the
    suppression across classes, which is the setting agnostic_nms_threshold or else the stored one."""
    agnostic_nms = settings.agnostic_nms_threshold
    if agnostic_nms is None and thresholds is not None:
        agnostic_nms = thresholds.agnostic_nms
    if settings.report_score_threshold is not None:
        return ScoreThreshold(settings.report_score_threshold, "setting report_score_threshold", agnostic_nms)
    if thresholds is None:
        return ScoreThreshold(DEFAULT_THRESHOLD, "default; eval.py stores the one with the best F1 beside the model",
                              agnostic_nms)
    instead = "" if thresholds.agnostic_nms is None or thresholds.f1_classwise is None else (
        f" ({thresholds.f1_classwise:.3f} without suppression across classes)")
    return ScoreThreshold(thresholds.threshold, f"best F1, {thresholds.f1:.3f}{instead}, on the {thresholds.images} "
                                                f"images of the {thresholds.split} split", agnostic_nms)


def shown_detections(rows: Iterable[ResultRow], category_ids: Sequence[int],
                     threshold: ScoreThreshold) -> dict[int, Detections]:
    """The `Detections` of every image that are shown, from checked result rows with boxes."""
    found = detections_by_image((row for row in rows if row["score"] >= threshold.value), category_ids)
    if threshold.agnostic_nms is None:
        return found
    return {image_id: suppress_across_classes(detections, threshold.agnostic_nms)
            for image_id, detections in found.items()}
