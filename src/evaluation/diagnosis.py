"""Explains why AP is 0, in sentences about the ids, classes and boxes of predictions."""
from __future__ import annotations

from dataclasses import replace
from typing import Callable, Collection, NamedTuple, Sequence

import numpy as np

from src.evaluation.matching import ImageBoxes, overlaps
from src.evaluation.predictions import ResultRow
from src.printable import counted

MOST_DETECTIONS = 1000
# Wrong box formats: name -> function of the four numbers of a row and the width and height of its image that returns
# x, y, width, height.
READINGS = {
    "x1, y1, x2, y2": lambda x, y, w, h, *_: (x, y, w - x, h - y),
    "y, x, height, width": lambda x, y, w, h, *_: (y, x, h, w),
    "fractions of the image": lambda x, y, w, h, width, height: (x * width, y * height, w * width, h * height),
}


def diagnose(ground_truth: dict, rows: Sequence[ResultRow], images: Sequence[ImageBoxes]) -> list[str]:
    """Sentences that explain why AP may be 0 or -1, the most certain cause first.

    ground_truth: COCO dictionary. rows: checked result rows with boxes; rows of unknown images are allowed here.
    images: `group_by_image` of the two.
    """
    truths = [truth for truth in ground_truth["annotations"] if not truth.get("iscrowd", 0)]
    wanted = {image.image_id for image in images}
    if not truths:
        return [f"The {len(wanted)} evaluated images have no annotated objects (crowds do not count): COCO's answer is "
                "-1, which means that there is nothing to measure, not that the detector is bad."]
    if not rows:
        return [f"There is not one detection for {counted(len(truths), 'object')} in "
                f"{counted(len(wanted), 'image')}. Lower the score "
                "threshold (SSD: min_score; Faster and Mask R-CNN: test_score_thr, fixed in an exported file); if that "
                "does not help, the network is untrained or its checkpoint was not loaded."]
    return _id_findings(ground_truth, rows, truths, wanted) or _box_findings(ground_truth, images)


def _id_findings(ground_truth: dict, rows: Sequence[ResultRow], truths: Sequence[dict], wanted: set[int]) -> list[str]:
    findings = []
    detected_images = {row["image_id"] for row in rows}
    if not detected_images & wanted:
        findings.append(f"No image id of the predictions ({_first_of(detected_images)}) occurs in the ground truth "
                        f"({_first_of(wanted)}): they belong to different data sets or splits.")
    categories = {category["id"]: category["name"] for category in ground_truth["categories"]}
    used, present = {row["category_id"] for row in rows}, {truth["category_id"] for truth in truths}
    if not used & set(categories):
        findings.append(f"No category id of the predictions ({_first_of(used)}) occurs in the ground truth "
                        f"({_first_of(categories)}): the class list differs, or labels were written in place of ids.")
    elif not used & present:
        findings.append(f"All detections are of classes without an annotated object ({_names(used, categories)}); the "
                        f"objects are of {_names(present, categories)}: the order of the class names may differ from "
                        "the one in training.")
    return findings


def _box_findings(ground_truth: dict, images: Sequence[ImageBoxes]) -> list[str]:
    # The best detections show how boxes are meant; thousands of weak ones would hide it.
    scores = np.sort(np.concatenate([image.scores for image in images]))[::-1]
    if not len(scores):
        return ["No detection has both an image id and a category id of the ground truth."]
    best = [image.above(scores[:MOST_DETECTIONS][-1]) for image in images]
    boxes = np.concatenate([image.boxes for image in best])
    fit = _fit(best)
    findings = [f"Of the {len(boxes)} detections with the highest scores {fit.any_class:.0%} fit an object (IoU at "
                f"least 0.5) and {fit.own_class:.0%} one of their own class; the best IoU is {fit.best_iou:.2f}."]
    if fit.any_class > 0.1 and fit.own_class < fit.any_class / 10:
        findings.append("The boxes are right and the classes wrong: compare the order of the class names with the one "
                        "in training.")
    size_of = {image["id"]: (image.get("width", 0), image.get("height", 0)) for image in ground_truth["images"]}
    sizes = np.concatenate([np.tile(np.array(size_of[image.image_id], np.float64), (len(image.boxes), 1))
                            for image in best])
    outside = np.mean(_is_outside(boxes, sizes))
    if outside > 0.1:
        findings.append(f"{outside:.0%} of these boxes reach beyond their image.")
    if fit.any_class < 0.3:
        findings.append(_box_form_finding(best, size_of, fit.any_class))
    findings.append(f"The highest score is {scores[0]:.3f}" + (
        ": the network is hardly trained, or its checkpoint was not loaded." if scores[0] < 0.3 else "."))
    return findings


def _box_form_finding(images: Sequence[ImageBoxes], size_of: dict, fitting: float) -> str:
    """Whether the boxes would fit in another format; otherwise how far they reach."""
    for name, convert in READINGS.items():
        fit = _fit([_read_as(image, convert, size_of[image.image_id]) for image in images])
        if fit.any_class > max(0.1, 2 * fitting):
            return (f"Read as {name}, {fit.any_class:.0%} would fit: the boxes seem to be written so; COCO's form is "
                    "x, y, width, height in pixels.")
    detected = np.concatenate([image.boxes[:, 2:] for image in images]).max(axis=0)
    annotated = np.concatenate([image.truth_boxes[:, 2:] for image in images]).max(axis=0)
    return (f"Detections reach to x {detected[0]:.0f}, y {detected[1]:.0f}; objects to x {annotated[0]:.0f}, "
            f"y {annotated[1]:.0f}. If these differ much, boxes were not scaled back to the original image.")


def _read_as(image: ImageBoxes, convert: Callable, size: tuple[int, int]) -> ImageBoxes:
    """The image with its boxes converted from another format; size: its width and height."""
    x, y, right, bottom = image.boxes.T
    x, y, width, height = convert(x, y, right - x, bottom - y, *size)
    return replace(image, boxes=np.column_stack([x, y, x + width, y + height]))


class _Fit(NamedTuple):
    """The fractions of detections that fit any object (IoU at least 0.5) or one of their class, and the best IoU."""

    any_class: float
    own_class: float
    best_iou: float


def _fit(images: Sequence[ImageBoxes]) -> _Fit:
    any_class = own_class = best = 0.0
    for image in images:
        overlap = overlaps(image.boxes, image.truth_boxes)
        same = image.labels[:, None] == image.truth_labels[None]
        best = max(best, overlap.max(initial=0))
        any_class += np.sum((overlap >= 0.5).any(axis=1))
        own_class += np.sum((same & (overlap >= 0.5)).any(axis=1))
    count = sum(len(image.boxes) for image in images)
    return _Fit(any_class / count, own_class / count, best)


def _is_outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N,) bool: whether a box reaches more than a pixel beyond its image.

    sizes: (N, 2) width and height, 0 = unknown.
    """
    return (boxes[:, :2] < -1).any(axis=1) | ((sizes > 0) & (boxes[:, 2:] > sizes + 1)).any(axis=1)


def _first_of(ids: Collection) -> str:
    shown = ", ".join(str(one) for one in sorted(ids)[:3])
    return f"{shown}, ..." if len(ids) > 3 else shown


def _names(category_ids: Collection, categories: dict[int, str]) -> str:
    return _first_of({categories.get(category_id, f"unknown id {category_id}") for category_id in category_ids})
