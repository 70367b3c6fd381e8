"""COCO's detection metrics, computed by pycocotools, or by faster-coco-eval with the same numbers in less time."""
from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple, Sequence

import numpy as np

from src.errors import ProjectError, UsageError
from src.evaluation.matching import sorted_categories
from src.evaluation.predictions import ResultRow

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)
NOTHING_TO_MEASURE = -1.0

# The rows of COCO's printed table: kind, IoU, area, detections per image.
TABLE_ROWS = (
    ("AP", "0.50:0.95", "all", 100), ("AP", "0.50", "all", 100), ("AP", "0.75", "all", 100),
    ("AP", "0.50:0.95", "small", 100), ("AP", "0.50:0.95", "medium", 100), ("AP", "0.50:0.95", "large", 100),
    ("AR", "0.50:0.95", "all", 1), ("AR", "0.50:0.95", "all", 10), ("AR", "0.50:0.95", "all", 100),
    ("AR", "0.50:0.95", "small", 100), ("AR", "0.50:0.95", "medium", 100), ("AR", "0.50:0.95", "large", 100),
)


@dataclass(frozen=True)
class ClassResult:
    """The metrics of one class; -1 if the ground truth has no object of it."""

    name: str
    objects: int       # annotated objects, crowds not counted
    detections: int
    AP: float
    AP50: float
    AR: float          # average recall with 100 detections per image


@dataclass(frozen=True)
class CocoResult:
    """The result of one COCO evaluation. A metric is -1 if the ground truth has no objects for it."""

    iou_type: str            # "bbox" or "segm"
    backend: str             # "pycocotools" or "faster-coco-eval"
    stats: np.ndarray        # (12,) float64, in the order of METRICS
    precision: np.ndarray    # (10, 101, K): per IoU threshold, recall level and class; -1 for absent classes
    per_class: tuple[ClassResult, ...]   # by category id

    @property
    def summary(self) -> dict[str, float]:
        """The 12 numbers by name."""
        return dict(zip(METRICS, self.stats.tolist()))

    def table(self) -> str:
        """The 12 numbers exactly as pycocotools prints them."""
        titles = {"AP": "Average Precision", "AR": "Average Recall"}
        return "\n".join(
            f" {titles[kind]:<18} ({kind}) @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:0.3f}"
            for (kind, iou, area, limit), value in zip(TABLE_ROWS, self.stats))


class _Backend(NamedTuple):
    """A library that computes COCO's metrics."""

    name: str
    coco: type
    evaluator: type


def evaluate_coco(ground_truth: dict, rows: Sequence[ResultRow], iou_type: str = "bbox",
                  backend: str = "auto") -> CocoResult:
    """Measure detections against a data set.

    ground_truth: COCO dictionary ("images", "annotations", "categories"); it is not changed.
    rows: checked rows in COCO's result form, see `read_predictions`. No rows at all give 0.
    iou_type: "bbox", or "segm" for masks.
    backend: "pycocotools", "faster_coco_eval", or "auto": faster_coco_eval if it is installed.
    Raises ProjectError when the rows belong to another data set, UsageError when the backend is not installed.
    """
    _check_origin(ground_truth, rows, iou_type)
    library = _backend(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        truth, detected = _numbered(ground_truth, _objects(ground_truth), _detections(rows, iou_type))
        evaluator = library.evaluator(_index(library.coco, truth["images"], truth["categories"], truth["annotations"]),
                                      _index(library.coco, truth["images"], truth["categories"], detected), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    recall = np.asarray(evaluator.eval["recall"])[:, :, 0, -1]
    return CocoResult(iou_type=iou_type, backend=library.name, stats=np.array(evaluator.stats[:12], dtype=np.float64),
                      precision=precision, per_class=_per_class(ground_truth, rows, precision, recall))


def mean_of_present(values: np.ndarray) -> float:
    """COCO's mean of the values that could be measured; -1 if there are none."""
    present = values[values > NOTHING_TO_MEASURE]
    return float(present.mean()) if present.size else NOTHING_TO_MEASURE


def _check_origin(ground_truth: dict, rows: Sequence[ResultRow], iou_type: str) -> None:
    key = {"bbox": "bbox", "segm": "segmentation"}.get(iou_type)
    if key is None:
        raise UsageError(f'iou_type is "{iou_type}"; "bbox" and "segm" are possible')
    known = {image["id"] for image in ground_truth["images"]}
    for number, row in enumerate(rows, 1):
        if row["image_id"] not in known:
            raise ProjectError(f"detection {number}: image {row['image_id']} is not in the ground truth; "
                               "these predictions belong to another data set or split")
        if row.get(key) is None:
            raise ProjectError(f'detection {number}: has no {key}, which the "{iou_type}" metric measures')
    for truth in ground_truth["annotations"]:
        if not truth.get(key):
            raise ProjectError(f'annotation {truth["id"]}: has no {key}, which the "{iou_type}" metric measures')


def _backend(backend: str) -> _Backend:
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if backend == "faster_coco_eval" or backend == "auto" and installed:
        if not installed:
            raise UsageError("the backend needs: pip install faster-coco-eval; or choose pycocotools")
        from faster_coco_eval.core.coco import COCO
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster
        return _Backend("faster-coco-eval", COCO, COCOeval_faster)
    if backend in ("auto", "pycocotools"):
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ImportError as error:
            raise UsageError(f"COCO metrics need: pip install pycocotools ({error})") from None
        return _Backend("pycocotools", COCO, COCOeval)
    raise UsageError(f'backend is "{backend}"; "auto", "pycocotools" and "faster_coco_eval" are possible')


def _index(coco_class: type, images: list[dict], categories: list[dict], annotations: list[dict]) -> Any:
    coco = coco_class()
    coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
    coco.createIndex()
    return coco


def _numbered(ground_truth: dict, objects: list[dict], detections: list[dict]) -> tuple[dict, list[dict]]:
    """A ground truth of these objects, and the detections, with the images numbered 1, 2, ... in the order of their
    ids: faster-coco-eval keeps ids as floating-point numbers, in which those above 2^53 fall together.

    objects, detections: lists of the caller's own, which are changed, to save a copy.
    """
    numbers = {image_id: number
               for number, image_id in enumerate(sorted({image["id"] for image in ground_truth["images"]}), 1)}

    for entry in itertools.chain(objects, detections):
        entry["image_id"] = numbers[entry["image_id"]]
    images = [{**image, "id": numbers[image["id"]]} for image in ground_truth["images"]]
    return {"images": images, "categories": ground_truth["categories"], "annotations": objects}, detections


def _objects(ground_truth: dict) -> list[dict]:
    """Copies of the annotations, completed with entries that a minimal JSON file may leave out.

    They are copies because the evaluators change them. They are numbered again from 1, because the evaluators mark an
    unmatched detection with 0, so an object with id 0 would never count as found.
    """
    return [{"area": truth["bbox"][2] * truth["bbox"][3], "iscrowd": 0, **truth, "id": number}
            for number, truth in enumerate(ground_truth["annotations"], 1)]


def _detections(rows: Sequence[ResultRow], iou_type: str) -> list[dict]:
    """The annotations that COCO.loadRes would make from the rows; unlike loadRes, this accepts an empty list.

    The area is always the area of the mask, also if its row has a box. loadRes would use the box, which would change
    the metrics of small, medium and large masks.
    """
    if iou_type == "bbox":
        areas = [row["bbox"][2] * row["bbox"][3] for row in rows]
    else:
        from pycocotools import mask
        areas = mask.area([row["segmentation"] for row in rows]).tolist() if rows else []
    return [{**row, "id": number, "area": area, "iscrowd": 0} for number, (row, area) in enumerate(zip(rows, areas), 1)]


def _per_class(ground_truth: dict, rows: Sequence[ResultRow], precision: np.ndarray,
               recall: np.ndarray) -> tuple[ClassResult, ...]:
    categories = sorted_categories(ground_truth)
    objects = dict.fromkeys((category["id"] for category in categories), 0)
    detections = dict(objects)
    for truth in ground_truth["annotations"]:
        if not truth.get("iscrowd", 0):
            objects[truth["category_id"]] += 1
    for row in rows:
        if row["category_id"] in detections:
            detections[row["category_id"]] += 1
    return tuple(
        ClassResult(category["name"], objects[category["id"]], detections[category["id"]],
                    AP=mean_of_present(precision[:, :, label]), AP50=mean_of_present(precision[0, :, label]),
                    AR=mean_of_present(recall[:, label]))
        for label, category in enumerate(categories))
