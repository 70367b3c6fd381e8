"""Matches the detections of an image with its objects: overlaps, and which detection found which object."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Iterable, NamedTuple, Optional, Sequence

import numpy as np

from src.evaluation.predictions import ResultRow
from src.ops.detections import Detections

NO_DETECTIONS = Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int32), [])


@dataclass(frozen=True)
class ImageBoxes:
    """One image: its D detections, best first, and its G annotated objects. Boxes are x1, y1, x2, y2, float64."""

    image_id: int
    boxes: np.ndarray         # (D, 4)
    scores: np.ndarray        # (D,)
    labels: np.ndarray        # (D,) index into the categories, see `sorted_categories`
    truth_boxes: np.ndarray   # (G, 4)
    truth_labels: np.ndarray  # (G,)
    crowd: np.ndarray         # (G,) bool: detections there are neither right nor wrong

    def above(self, score: float) -> ImageBoxes:
        """The same image with only the detections of at least this score."""
        kept = self.scores >= score
        return ImageBoxes(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept],
                          self.truth_boxes, self.truth_labels, self.crowd)

    def suppressed_across_classes(self, iou_threshold: Optional[float]) -> ImageBoxes:
        """The same image without the detections that overlap a better one, of whatever class, by more than
        iou_threshold; None leaves all."""
        if iou_threshold is None:
            return self
        overlap = overlaps(self.boxes, self.boxes) > iou_threshold
        kept = np.ones(len(self.scores), bool)
        for index in range(len(kept)):
            if kept[index]:
                kept[index + 1:] &= ~overlap[index, index + 1:]
        return ImageBoxes(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept],
                          self.truth_boxes, self.truth_labels, self.crowd)


class Matches(NamedTuple):
    """The object that each of the D detections of an image found."""

    partner: np.ndarray   # (D,) index of the object, -1 = none
    ignored: np.ndarray   # (D,) bool: without a partner, but on a crowd of its class


def sorted_categories(ground_truth: dict) -> list:
    """The categories of a COCO dictionary, sorted by id as in pycocotools."""
    return sorted(ground_truth["categories"], key=lambda category: category["id"])


def detections_by_image(rows: Iterable[ResultRow], category_ids: Sequence[int]) -> dict[int, Detections]:
    """The `Detections` of every image with detections, best first, from checked result rows with boxes.

    Boxes and scores are float64, as in the metrics. Rows of other categories are left out, as in pycocotools.
    category_ids: the data set's category id of every label.
    """
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    rows = [row for row in rows if row["category_id"] in label_of]
    image_ids = np.array([row["image_id"] for row in rows], np.int64)
    scores = np.array([row["score"] for row in rows], np.float64)
    labels = np.array([label_of[row["category_id"]] for row in rows], np.int32)
    boxes = _corners(np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4))
    order = np.lexsort((-scores, image_ids))
    found, first = np.unique(image_ids[order], return_index=True)
    detections = {}
    for image_id, chosen in zip(found.tolist(), np.split(order, first[1:])):
        masks = [rows[index].get("segmentation") for index in chosen]
        detections[image_id] = Detections(boxes[chosen], scores[chosen], labels[chosen],
                                          None if None in masks else masks)
    return detections


def group_by_image(ground_truth: dict, rows: Iterable[ResultRow]) -> list[ImageBoxes]:
    """The images of a COCO dictionary, sorted by id, with their objects and with the detections of checked result rows.

    Rows of images and categories that are not in the ground truth are left out, as in pycocotools.
    """
    category_ids = [category["id"] for category in sorted_categories(ground_truth)]
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    truths = defaultdict(list)
    for truth in ground_truth["annotations"]:
        truths[truth["image_id"]].append(
            (*truth["bbox"], label_of[truth["category_id"]], bool(truth.get("iscrowd", 0))))
    detections = detections_by_image(rows, category_ids)
    images = []
    for image_id in sorted(image["id"] for image in ground_truth["images"]):
        found = detections.get(image_id, NO_DETECTIONS)
        objects = np.array(truths[image_id], dtype=np.float64).reshape(-1, 6)
        images.append(ImageBoxes(image_id, found.boxes, found.scores, found.labels, _corners(objects[:, :4]),
                                 objects[:, 4].astype(np.int64), objects[:, 5].astype(bool)))
    return images


def _corners(boxes: np.ndarray) -> np.ndarray:
    """x, y, width, height -> x1, y1, x2, y2."""
    return np.column_stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


def overlaps(boxes: np.ndarray, truth_boxes: np.ndarray, crowd: Optional[np.ndarray] = None,
             extra_pixel: float = 0.0) -> np.ndarray:
    """IoU of every detection with every object: (D, G) float64.

    crowd: (G,) bool; for crowds the overlap is the covered fraction of the detection, as in COCO.
    extra_pixel: 1.0 includes the last pixel in the box, as in the VOC devkit.
    """
    top_left = np.maximum(boxes[:, None, :2], truth_boxes[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], truth_boxes[None, :, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left + extra_pixel, 0), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + extra_pixel, axis=1)[:, None]
    union = areas + np.prod(truth_boxes[:, 2:] - truth_boxes[:, :2] + extra_pixel, axis=1)[None] - intersection
    if crowd is not None:
        union = np.where(crowd[None], areas, union)
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def match(image: ImageBoxes, overlap: np.ndarray, iou_threshold: float) -> Matches:
    """COCO's matching: from the best detection down, each takes the free object of its class with the highest IoU.

    overlap: (D, G) from `overlaps` with the image's crowds.
    """
    partner = np.full(len(image.scores), -1)
    ignored = np.zeros(len(image.scores), dtype=bool)
    candidates = (overlap >= iou_threshold) & (image.labels[:, None] == image.truth_labels[None])
    free = ~image.crowd
    for index in np.flatnonzero(candidates.any(axis=1)):
        # Reversed, because pycocotools prefers the later of two equal objects.
        choices = np.flatnonzero(candidates[index] & free)[::-1]
        if len(choices):
            partner[index] = choices[np.argmax(overlap[index, choices])]
            free[partner[index]] = False
        else:
            ignored[index] = (candidates[index] & image.crowd).any()
    return Matches(partner, ignored)
