"""Detections beside the objects of the same image, their overlaps, and who found whom."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageBoxes:
    """One image: its D detections, best first, and its G annotated objects. Boxes are x1, y1, x2, y2, float64."""

    image_id: int
    boxes: np.ndarray         # (D, 4)
    scores: np.ndarray        # (D,)
    labels: np.ndarray        # (D,) index into the categories, see `sorted_categories`
    truth_boxes: np.ndarray   # (G, 4)
    truth_labels: np.ndarray  # (G,)
    crowd: np.ndarray         # (G,) bool: regions where detections count neither as right nor as wrong

    def above(self, score):
        """The same image with the detections of at least this score."""
        kept = self.scores >= score
        return ImageBoxes(self.image_id, self.boxes[kept], self.scores[kept], self.labels[kept],
                          self.truth_boxes, self.truth_labels, self.crowd)


def sorted_categories(ground_truth):
    """The categories of a COCO dictionary in the order of their ids, as pycocotools counts them."""
    return sorted(ground_truth["categories"], key=lambda category: category["id"])


def group_by_image(ground_truth, predictions, image_ids=None):
    """A list of `ImageBoxes`, sorted by image id, from a COCO dictionary and rows of predictions with boxes.

    Rows of categories that the ground truth does not have are left out, as pycocotools does.
    image_ids: the images to take; all when None.
    """
    label_of = {category["id"]: label for label, category in enumerate(sorted_categories(ground_truth))}
    truths, detections = defaultdict(list), defaultdict(list)
    for truth in ground_truth["annotations"]:
        truths[truth["image_id"]].append(
            (*truth["bbox"], label_of[truth["category_id"]], bool(truth.get("iscrowd", 0))))
    for row in predictions:
        if row["category_id"] in label_of:
            detections[row["image_id"]].append((*row["bbox"], label_of[row["category_id"]], row["score"]))
    if image_ids is None:
        image_ids = [image["id"] for image in ground_truth["images"]]

    images = []
    for image_id in sorted(image_ids):
        found = np.array(detections[image_id], dtype=np.float64).reshape(-1, 6)
        found = found[np.argsort(-found[:, 5], kind="stable")]
        objects = np.array(truths[image_id], dtype=np.float64).reshape(-1, 6)
        images.append(ImageBoxes(image_id, _corners(found), found[:, 5], found[:, 4].astype(np.int64),
                                 _corners(objects), objects[:, 4].astype(np.int64), objects[:, 5].astype(bool)))
    return images


def _corners(rows):
    return np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]])


def overlaps(boxes, truth_boxes, crowd=None, extra_pixel=0.0):
    """IoU of every detection with every object: (D, G) float64.

    crowd: (G,) bool; for these objects the overlap is the covered part of the detection, as in COCO.
    extra_pixel: 1.0 measures boxes as the VOC devkit does, whose last pixel belongs to the box.
    """
    top_left = np.maximum(boxes[:, None, :2], truth_boxes[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], truth_boxes[None, :, 2:])
    intersection = np.prod(np.maximum(bottom_right - top_left + extra_pixel, 0), axis=2)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2] + extra_pixel, axis=1)[:, None]
    union = areas + np.prod(truth_boxes[:, 2:] - truth_boxes[:, :2] + extra_pixel, axis=1)[None] - intersection
    if crowd is not None:
        union = np.where(crowd[None], areas, union)
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def match(image, overlap, iou_threshold):
    """COCO's matching: from the best detection down, each takes the free object of its class with the highest IoU.

    overlap: (D, G) from `overlaps` with the image's crowds.
    Returns `partner` (D,), the object each detection found or -1, and `ignored` (D,) bool, the detections without a
    partner that lie on a crowd of their class.
    """
    partner = np.full(len(image.scores), -1)
    ignored = np.zeros(len(image.scores), dtype=bool)
    candidates = (overlap >= iou_threshold) & (image.labels[:, None] == image.truth_labels[None])
    free = ~image.crowd
    for index in np.flatnonzero(candidates.any(axis=1)):
        # Reversed, because pycocotools gives a tie to the later object.
        choices = np.flatnonzero(candidates[index] & free)[::-1]
        if len(choices):
            partner[index] = choices[np.argmax(overlap[index, choices])]
            free[partner[index]] = False
        else:
            ignored[index] = (candidates[index] & image.crowd).any()
    return partner, ignored
