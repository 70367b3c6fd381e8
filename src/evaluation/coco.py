"""COCO's detection metrics. pycocotools is the judge; faster-coco-eval gives the same numbers in less time."""
from __future__ import annotations

import contextlib
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.errors import ProjectError, UsageError
from src.evaluation.matching import sorted_categories
from src.evaluation.predictions import check_predictions, read_predictions

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
    """The metrics of one class; -1 where the ground truth holds no object of it."""

    name: str
    objects: int       # annotated objects, crowds not counted
    detections: int
    AP: float
    AP50: float
    AR: float          # average recall with 100 detections per image


@dataclass(frozen=True)
class CocoResult:
    """The outcome of one COCO evaluation. A metric is -1 where the ground truth has nothing to measure it on."""

    iou_type: str            # "bbox" or "segm"
    backend: str             # "pycocotools" or "faster-coco-eval"
    stats: np.ndarray        # (12,) float64, in the order of METRICS
    precision: np.ndarray    # (10, 101, K): per IoU threshold, recall level and class; -1 for absent classes
    per_class: tuple         # of ClassResult, by category id
    image_ids: tuple         # the evaluated images

    @property
    def summary(self):
        """The 12 numbers by name."""
        return dict(zip(METRICS, self.stats.tolist()))

    def table(self):
        """The 12 numbers exactly as pycocotools prints them."""
        titles = {"AP": "Average Precision", "AR": "Average Recall"}
        return "\n".join(
            f" {titles[kind]:<18} ({kind}) @[ IoU={iou:<9} | area={area:>6} | maxDets={limit:>3} ] = {value:0.3f}"
            for (kind, iou, area, limit), value in zip(TABLE_ROWS, self.stats))


def evaluate_coco(ground_truth, predictions, iou_type="bbox", image_ids=None, backend="auto"):
    """Measure predictions against a data set.

    ground_truth: COCO dictionary ("images", "annotations", "categories"); it is not changed.
    predictions: rows in COCO's result form, or the path of a file that holds them. No detections at all give 0.
    iou_type: "bbox", or "segm" for masks.
    image_ids: the images that were evaluated; all of the ground truth when None.
    backend: "pycocotools", "faster_coco_eval", or "auto": faster when it is installed.
    Raises ProjectError when predictions are malformed or belong to another data set, UsageError when the backend is
    not installed.
    """
    if isinstance(predictions, (str, Path)):
        source, rows = predictions, read_predictions(predictions)
    else:
        source, rows = "predictions", predictions
        check_predictions(rows, source)
    _check_origin(ground_truth, rows, iou_type, source)
    name, coco_class, evaluator_class = _backend(backend)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = evaluator_class(_index(coco_class, ground_truth, _objects(ground_truth)),
                                    _index(coco_class, ground_truth, _detections(rows, iou_type)), iou_type)
        if image_ids is not None:
            evaluator.params.imgIds = sorted(image_ids)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    evaluated = tuple(int(image_id) for image_id in evaluator.params.imgIds)
    precision = np.asarray(evaluator.eval["precision"])[:, :, :, 0, -1]
    recall = np.asarray(evaluator.eval["recall"])[:, :, 0, -1]
    return CocoResult(iou_type=iou_type, backend=name, stats=np.array(evaluator.stats[:12], dtype=np.float64),
                      precision=precision, image_ids=evaluated,
                      per_class=_per_class(ground_truth, rows, precision, recall, set(evaluated)))


def mean_of_present(values):
    """COCO's mean: over what could be measured; -1 when nothing could."""
    present = values[values > NOTHING_TO_MEASURE]
    return float(present.mean()) if present.size else NOTHING_TO_MEASURE


def _check_origin(ground_truth, rows, iou_type, source):
    key = {"bbox": "bbox", "segm": "segmentation"}.get(iou_type)
    if key is None:
        raise UsageError(f'iou_type is "{iou_type}"; "bbox" and "segm" are possible')
    known = {image["id"] for image in ground_truth["images"]}
    for number, row in enumerate(rows, 1):
        if row["image_id"] not in known:
            raise ProjectError(f"{source}, detection {number}: image {row['image_id']} is not in the ground truth; "
                               "these predictions belong to another data set or split")
        if row.get(key) is None:
            raise ProjectError(f'{source}, detection {number}: has no {key}, which the "{iou_type}" metric measures')
    for truth in ground_truth["annotations"]:
        if not truth.get(key):
            raise ProjectError(f'annotation {truth["id"]}: has no {key}, which the "{iou_type}" metric measures')


def _backend(backend):
    """Name, COCO class and evaluator class."""
    installed = importlib.util.find_spec("faster_coco_eval") is not None
    if backend == "faster_coco_eval" or backend == "auto" and installed:
        if not installed:
            raise UsageError("the backend needs: pip install faster-coco-eval; or choose pycocotools")
        from faster_coco_eval.core.coco import COCO
        from faster_coco_eval.core.faster_eval_api import COCOeval_faster
        return "faster-coco-eval", COCO, COCOeval_faster
    if backend in ("auto", "pycocotools"):
        try:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval
        except ImportError as error:
            raise UsageError(f"COCO metrics need: pip install pycocotools ({error})") from None
        return "pycocotools", COCO, COCOeval
    raise UsageError(f'backend is "{backend}"; "auto", "pycocotools" and "faster_coco_eval" are possible')


def _index(coco_class, ground_truth, annotations):
    coco = coco_class()
    coco.dataset = {"images": ground_truth["images"], "categories": ground_truth["categories"],
                    "annotations": annotations}
    coco.createIndex()
    return coco


def _objects(ground_truth):
    """Copies of the annotations (the evaluators write into theirs) with what a minimal json may leave out.

    They are numbered anew from 1: the evaluators mark an unmatched detection with 0, so that an object of id 0 would
    never count as found.
    """
    return [{"area": truth["bbox"][2] * truth["bbox"][3], "iscrowd": 0, **truth, "id": number}
            for number, truth in enumerate(ground_truth["annotations"], 1)]


def _detections(rows, iou_type):
    """The annotations that COCO.loadRes would make of the rows; unlike it, this knows the empty list.

    The size of a mask is its area, also when its row has a box: loadRes would take the box, and the metrics of small,
    medium and large masks would change with a key that they do not measure.
    """
    if iou_type == "bbox":
        areas = [row["bbox"][2] * row["bbox"][3] for row in rows]
    else:
        from pycocotools import mask
        areas = mask.area([row["segmentation"] for row in rows]).tolist() if rows else []
    return [{**row, "id": number, "area": area, "iscrowd": 0} for number, (row, area) in enumerate(zip(rows, areas), 1)]


def _per_class(ground_truth, rows, precision, recall, image_ids):
    categories = sorted_categories(ground_truth)
    objects = dict.fromkeys((category["id"] for category in categories), 0)
    detections = dict(objects)
    for truth in ground_truth["annotations"]:
        if truth["image_id"] in image_ids and not truth.get("iscrowd", 0):
            objects[truth["category_id"]] += 1
    for row in rows:
        if row["category_id"] in detections and row["image_id"] in image_ids:
            detections[row["category_id"]] += 1
    return tuple(
        ClassResult(category["name"], objects[category["id"]], detections[category["id"]],
                    AP=mean_of_present(precision[:, :, label]), AP50=mean_of_present(precision[0, :, label]),
                    AR=mean_of_present(recall[:, label]))
        for label, category in enumerate(categories))
