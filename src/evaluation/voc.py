"""Pascal VOC's average precision (Everingham et al. 2010, section 4.2, and the VOC2007 / VOC2012 development kits)."""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Sequence

import numpy as np

from src.evaluation.matching import ImageBoxes, overlaps


@dataclass(frozen=True)
class VocClassResult:
    """AP of one class by both rules; NaN if the ground truth has no object of it that counts."""

    name: str
    objects: int            # annotated objects, difficult ones not counted
    AP_11_point: float
    AP_all_point: float


@dataclass(frozen=True)
class VocResult:
    """AP per class, and the mean over the classes with objects; NaN if there are none."""

    iou_threshold: float
    extra_pixel: bool
    per_class: tuple[VocClassResult, ...]   # by category id

    @property
    def mAP_11_point(self) -> float:
        """Mean AP of VOC2007: precision at recall 0, 0.1, ... 1."""
        return _mean([result.AP_11_point for result in self.per_class])

    @property
    def mAP_all_point(self) -> float:
        """Mean AP of VOC2010 and later: the area under the precision envelope."""
        return _mean([result.AP_all_point for result in self.per_class])

    def table(self) -> str:
        """The numbers per class, with the definitions they depend on."""
        pixels = "width = x2 - x1 + 1, as in the VOC devkit" if self.extra_pixel else "width = x2 - x1"
        lines = [f"VOC AP at IoU {self.iou_threshold:g}; difficult objects are ignored; boxes measured with {pixels}",
                 f"{'class':<20} {'objects':>8} {'AP 11-point':>12} {'AP all-point':>13}"]
        lines += [f"{one.name:<20} {one.objects:>8} {one.AP_11_point:>12.4f} {one.AP_all_point:>13.4f}"
                  for one in self.per_class]
        objects = sum(one.objects for one in self.per_class)
        return "\n".join([*lines, f"{'mean':<20} {objects:>8} {self.mAP_11_point:>12.4f} {self.mAP_all_point:>13.4f}"])


class _Counted(NamedTuple):
    """The N detections that count, best first, and the objects that count."""

    labels: np.ndarray    # (N,)
    right: np.ndarray     # (N,) bool
    objects: np.ndarray   # (K,) per class


def evaluate_voc(images: Sequence[ImageBoxes], names: Sequence[str], iou_threshold: float = 0.5,
                 extra_pixel: bool = False) -> VocResult:
    """VOC metrics by both rules, from the same detections as the COCO metrics.

    images: from `group_by_image`; difficult objects are marked as crowd, as `to_coco` does for VOC annotations. They
        count neither as objects nor, if detected, as errors.
    names: of the classes, by category id.
    extra_pixel: measure boxes as the devkit does, whose coordinates are pixel indices (width = x2 - x1 + 1).
    """
    counted = _count(images, len(names), iou_threshold, float(extra_pixel))
    per_class = []
    for label, name in enumerate(names):
        aps = [np.nan, np.nan]
        if counted.objects[label]:
            found = np.cumsum(counted.right[counted.labels == label])
            recall, precision = found / counted.objects[label], found / np.arange(1, len(found) + 1)
            aps = [eleven_point_ap(recall, precision), all_point_ap(recall, precision)]
        per_class.append(VocClassResult(name, int(counted.objects[label]), *aps))
    return VocResult(iou_threshold, extra_pixel, tuple(per_class))


def _count(images: Sequence[ImageBoxes], classes: int, iou_threshold: float, extra_pixel: float) -> _Counted:
    """Separate right detections from wrong ones.

    A detection belongs to the object of its class with the largest overlap, even if that was already found. The best
    detection of an object is right, the others are wrong; detections of a difficult object do not count.
    """
    labels, scores, owners = [], [], []
    objects, offset = np.zeros(classes, dtype=np.int64), 0
    for image in images:
        overlap = overlaps(image.boxes, image.truth_boxes, extra_pixel=extra_pixel)
        overlap[image.labels[:, None] != image.truth_labels[None]] = 0
        # A column for "no object", slightly below the threshold; overlaps never differ by so little.
        overlap = np.column_stack([np.full(len(overlap), iou_threshold - 1e-12), overlap])
        owner = overlap.argmax(axis=1) - 1
        counted = ~np.append(image.crowd, False)[owner]
        labels.append(image.labels[counted])
        scores.append(image.scores[counted])
        owners.append(np.where(owner >= 0, owner + offset, -1)[counted])
        objects += np.bincount(image.truth_labels[~image.crowd], minlength=classes)
        offset += len(image.crowd)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    labels, owners = np.concatenate(labels)[order], np.concatenate(owners)[order]
    found, first = np.unique(owners, return_index=True)
    right = np.zeros(len(owners), dtype=bool)
    right[first[found >= 0]] = True
    return _Counted(labels, right, objects)


def eleven_point_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """Mean over recall 0, 0.1, ... 1 of the best precision at that recall or beyond.

    recall, precision: (N,) after each detection, best first."""
    # The tolerance lets a recall of 3/10 reach the level 0.3, which float64 cannot represent.
    return float(np.mean([precision[recall >= level - 1e-9].max(initial=0) for level in np.linspace(0, 1, 11)]))


def all_point_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the precision envelope over recall. recall, precision: (N,) after each detection, best first."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if not np.isnan(value)]
    return float(np.mean(present)) if present else float("nan")
