"""COCO's detection metrics. pycocotools is the judge; faster-coco-eval gives the same numbers in less time."""
from __future__ import annotations

import contextlib
import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.errors import ProjectError, UsageError
from src.evaluation.matching import group_by_image, overlaps, sorted_categories
from src.evaluation.predictions import check_predictions, read_predictions

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
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


def diagnose(ground_truth, predictions, image_ids=None):
    """Why the AP may be 0 (or -1): a list of sentences, the most certain cause first.

    ground_truth, predictions (rows), image_ids: as for `evaluate_coco`; rows of unknown images are allowed here.
    """
    wanted = {image["id"] for image in ground_truth["images"]} if image_ids is None else set(image_ids)
    truths = [truth for truth in ground_truth["annotations"]
              if truth["image_id"] in wanted and not truth.get("iscrowd", 0)]
    if not truths:
        return [f"The {len(wanted)} evaluated images have no annotated objects (crowds do not count): COCO's answer is "
                "-1, which means that there is nothing to measure, not that the detector is bad."]
    if not predictions:
        return [f"There is not one detection for {len(truths)} objects in {len(wanted)} images. Lower the score "
                "threshold (SSD: min_score; Faster and Mask R-CNN: test_score_thr, fixed in an exported file); if that "
                "does not help, the network is untrained or its checkpoint was not loaded."]
    return _id_findings(ground_truth, predictions, truths, wanted) or _box_findings(ground_truth, predictions, wanted)


def _id_findings(ground_truth, predictions, truths, wanted):
    findings = []
    detected_images = {row["image_id"] for row in predictions}
    if not detected_images & wanted:
        findings.append(f"No image id of the predictions ({_some(detected_images)}) occurs in the ground truth "
                        f"({_some(wanted)}): they belong to different data sets or splits.")
    categories = {category["id"]: category["name"] for category in ground_truth["categories"]}
    used, present = {row["category_id"] for row in predictions}, {truth["category_id"] for truth in truths}
    if not used & set(categories):
        findings.append(f"No category id of the predictions ({_some(used)}) occurs in the ground truth "
                        f"({_some(categories)}): the class list differs, or labels were written in place of ids.")
    elif not used & present:
        findings.append(f"All detections are of classes without an annotated object ({_names(used, categories)}); the "
                        f"objects are of {_names(present, categories)}: the order of the class names may differ from "
                        "the one in training.")
    return findings


def _box_findings(ground_truth, predictions, wanted):
    rows = [row for row in predictions if row["image_id"] in wanted and row.get("bbox") is not None]
    if not rows:
        return ["The predictions hold masks without boxes (bbox)."]
    # The best detections tell how boxes are meant; thousands of weak ones would only hide it.
    rows = sorted(rows, key=lambda row: -row["score"])[:1000]
    fitting, fitting_class, best = _fit(ground_truth, rows, wanted)
    findings = [f"Of the {len(rows)} detections with the highest scores {fitting:.0%} fit an object (IoU at least 0.5) "
                f"and {fitting_class:.0%} one of their own class; the best IoU is {best:.2f}."]
    if fitting > 0.1 and fitting_class < fitting / 10:
        findings.append("The boxes are right and the classes wrong: compare the order of the class names with the one "
                        "in training.")
    sizes = {image["id"]: (image.get("width", 0), image.get("height", 0)) for image in ground_truth["images"]}
    outside = np.mean([_is_outside(row["bbox"], *sizes[row["image_id"]]) for row in rows])
    if outside > 0.1:
        findings.append(f"{outside:.0%} of these boxes reach beyond their picture.")
    if fitting < 0.3:
        findings.append(_box_form_finding(ground_truth, rows, wanted, sizes, fitting))
    top = rows[0]["score"]
    findings.append(f"The highest score is {top:.3f}" + (
        ": the network is hardly trained, or its checkpoint was not loaded." if top < 0.3 else "."))
    return findings


def _box_form_finding(ground_truth, rows, wanted, sizes, fitting):
    """Whether the boxes would fit if they were read in another form, else how far they reach."""
    readings = {
        "x1, y1, x2, y2": lambda x, y, w, h, *_: (x, y, w - x, h - y),
        "y, x, height, width": lambda x, y, w, h, *_: (y, x, h, w),
        "fractions of the picture": lambda x, y, w, h, width, height: (x * width, y * height, w * width, h * height),
    }
    for reading, convert in readings.items():
        changed = [{**row, "bbox": convert(*row["bbox"], *sizes[row["image_id"]])} for row in rows]
        would_fit, _, _ = _fit(ground_truth, changed, wanted)
        if would_fit > max(0.1, 2 * fitting):
            return (f"Read as {reading}, {would_fit:.0%} would fit: the boxes seem to be written so; COCO's form is x, "
                    "y, width, height in pixels.")
    detected = _reach(row["bbox"] for row in rows)
    annotated = _reach(truth["bbox"] for truth in ground_truth["annotations"] if truth["image_id"] in wanted)
    return (f"Detections reach to x {detected[0]:.0f}, y {detected[1]:.0f}; objects to x {annotated[0]:.0f}, "
            f"y {annotated[1]:.0f}. If these differ much, boxes were not scaled back to the original picture.")


def _fit(ground_truth, rows, wanted):
    """The share of detections that fit any object (IoU at least 0.5), that fit one of their class, and the best IoU."""
    fitting = fitting_class = best = 0.0
    for image in group_by_image(ground_truth, rows, wanted):
        overlap = overlaps(image.boxes, image.truth_boxes)
        same = image.labels[:, None] == image.truth_labels[None]
        best = max(best, overlap.max(initial=0))
        fitting += np.sum((overlap >= 0.5).any(axis=1))
        fitting_class += np.sum((same & (overlap >= 0.5)).any(axis=1))
    return fitting / len(rows), fitting_class / len(rows), best


def _reach(boxes):
    return np.array([[x + w, y + h] for x, y, w, h in boxes]).max(axis=0)


def _is_outside(box, width, height):
    x, y, w, h = box
    return x < -1 or y < -1 or width > 0 and x + w > width + 1 or height > 0 and y + h > height + 1


def _some(ids):
    shown = ", ".join(str(one) for one in sorted(ids)[:3])
    return f"{shown}, ..." if len(ids) > 3 else shown


def _names(category_ids, categories):
    return _some({categories.get(category_id, f"unknown id {category_id}") for category_id in category_ids})
