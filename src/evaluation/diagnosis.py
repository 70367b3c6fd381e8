"""Why an AP is 0: sentences about the ids, classes and boxes of predictions."""
from __future__ import annotations

import numpy as np

from src.evaluation.matching import group_by_image, overlaps


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
