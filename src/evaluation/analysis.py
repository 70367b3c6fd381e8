"""Analyses where AP is lost: confusions between classes, types of errors, the best and the worst images.

Everything uses COCO's matching at IoU 0.5, so AP here is COCO's AP50, as long as no image has more than 100 detections
of one class, COCO's limit.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional, Sequence

import numpy as np

from src.evaluation.coco import RECALL_LEVELS
from src.evaluation.matching import ImageBoxes, match, overlaps

IOU_THRESHOLD = 0.5
BACKGROUND_IOU = 0.1

# Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", section 2.2, in the order in
# which their toolbox (tidecv 1.0.1) tests them: localisation, classification, duplicate, background, both.
ERROR_TYPES = {
    "classification": "the box fits an object of another class (IoU at least 0.5)",
    "localisation": "the class is right, the box is off (IoU 0.1 to 0.5); also a second, loose box on an object "
                    "that was found",
    "both": "the only objects that the box touches (IoU 0.1 to 0.5) are of other classes",
    "duplicate": "a second box that fits (IoU at least 0.5) on an object that was found by one with a higher score",
    "background": "nothing annotated is there (IoU below 0.1)",
    "missed": "an object that no detection accounts for, not even one with the wrong class or a box that is off",
}
NO_ERROR, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(-1, 5)


@dataclass(frozen=True)
class ErrorType:
    """How often one type of error occurs, and how much AP50 would gain without it."""

    name: str
    meaning: str
    count: int       # counted among detections with at least the score threshold
    gain: float      # AP50 with these errors corrected, minus AP50; over all detections


@dataclass(frozen=True)
class ImageScore:
    """The result on one image at a score threshold."""

    image_id: int
    found: int           # objects found
    missed: int          # objects not found
    wrong: int           # detections without an object
    error_weight: float  # summed scores of the wrong detections, plus 1 per missed object

    @property
    def f1(self) -> float:
        return 2 * self.found / (2 * self.found + self.missed + self.wrong)


class Confusion(NamedTuple):
    """How many objects of class `truth` were detected as class `detected`."""

    truth: int
    detected: int
    objects: int


class WorkingPoint(NamedTuple):
    """A score threshold and the F1 of all detections with at least this score."""

    threshold: float
    f1: float


class F1Curve(NamedTuple):
    """The K different scores, descending, and for each the F1 of all detections with at least this score."""

    scores: np.ndarray
    f1: np.ndarray

    @property
    def best(self) -> Optional[WorkingPoint]:
        """The highest F1, at the highest score that reaches it; None if no detection is right."""
        if not self.f1.any():
            return None
        index = int(np.argmax(self.f1))
        return WorkingPoint(float(self.scores[index]), float(self.f1[index]))


@dataclass(frozen=True)
class _Findings:
    """All detections of all images, best first (N,), and all objects that count (M,)."""

    scores: np.ndarray
    labels: np.ndarray
    error: np.ndarray          # (N,) NO_ERROR or the index of an error type
    target: np.ndarray         # (N,) the object that the corrected detection would find, or -1
    truth_labels: np.ndarray   # (M,)
    missed: np.ndarray         # (M,) bool


def f1_curve(images: Sequence[ImageBoxes], label: Optional[int] = None) -> F1Curve:
    """F1 (harmonic mean of precision and recall) at IoU 0.5 for every possible score threshold.

    label: the class; None counts the detections and objects of all classes together.
    """
    scores, right, objects = [], [], 0
    for image in images:
        partner, ignored = match(image, overlaps(image.boxes, image.truth_boxes, image.crowd), IOU_THRESHOLD)
        chosen = ~ignored if label is None else ~ignored & (image.labels == label)
        scores.append(image.scores[chosen])
        right.append(partner[chosen] >= 0)
        objects += int(np.sum(~image.crowd if label is None else ~image.crowd & (image.truth_labels == label)))
    all_scores = _joined(scores, float)
    order = np.argsort(-all_scores, kind="stable")
    all_scores, found = all_scores[order], np.cumsum(_joined(right, bool)[order])
    # A threshold takes all detections of equal score or none.
    last_of_its_score = np.append(all_scores[1:] != all_scores[:-1], True)[:len(all_scores)]
    f1 = 2 * found / (np.arange(1, len(found) + 1) + objects)
    return F1Curve(all_scores[last_of_its_score], f1[last_of_its_score])


def confusion_matrix(images: Sequence[ImageBoxes], classes: int, score_threshold: float) -> np.ndarray:
    """How often an object of class i (row) was detected as class j (column): (classes + 1, classes + 1) int64.

    The last row counts detections without an object, the last column objects without a detection. Detections that found
    an object of their class are on the diagonal, as in the metric. The remaining detections and objects are paired by
    IoU, at least 0.5, the highest first.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for image in (image.above(score_threshold) for image in images):
        overlap = overlaps(image.boxes, image.truth_boxes, image.crowd)
        partner, ignored = match(image, overlap, IOU_THRESHOLD)
        rest = np.where((partner < 0) & ~ignored, 1.0, 0.0)[:, None] * overlap
        rest[:, image.crowd] = 0
        rest[:, partner[partner >= 0]] = 0
        while rest.max(initial=0) >= IOU_THRESHOLD:
            detection, truth = np.unravel_index(rest.argmax(), rest.shape)
            partner[detection] = truth
            rest[detection] = 0
            rest[:, truth] = 0
        paired = partner >= 0
        np.add.at(matrix, (image.truth_labels[partner[paired]], image.labels[paired]), 1)
        matrix[classes] += np.bincount(image.labels[~paired & ~ignored], minlength=classes + 1)
        lonely = ~image.crowd
        lonely[partner[paired]] = False
        matrix[:, classes] += np.bincount(image.truth_labels[lonely], minlength=classes + 1)
    return matrix


def frequent_confusions(matrix: np.ndarray, count: int = 10) -> list[Confusion]:
    """The largest entries of a confusion matrix between two different classes."""
    between = matrix[:-1, :-1].copy()
    np.fill_diagonal(between, 0)
    order = np.argsort(-between, axis=None, kind="stable")[:count]
    return [Confusion(int(index) // len(between), int(index) % len(between), int(between.flat[index]))
            for index in order if between.flat[index] > 0]


def error_types(images: Sequence[ImageBoxes], score_threshold: float,
                shown: Optional[Sequence[ImageBoxes]] = None) -> list[ErrorType]:
    """The types of errors, in the order of ERROR_TYPES.

    shown: the images with the detections to count, where these are not all of `images`.
    """
    findings = _classify(images)
    base = _ap50(findings)
    working = _classify([image.above(score_threshold) for image in (images if shown is None else shown)])
    counts = [int(np.sum(working.error == error)) for error in range(BACKGROUND + 1)] + [int(working.missed.sum())]
    gains = [_ap50(_corrected(findings, error)) - base for error in range(BACKGROUND + 1)]
    gains.append(_ap50(findings, findings.truth_labels[~findings.missed]) - base)
    return [ErrorType(name, meaning, count, gain)
            for (name, meaning), count, gain in zip(ERROR_TYPES.items(), counts, gains)]


def rank_images(images: Sequence[ImageBoxes], score_threshold: float) -> list[ImageScore]:
    """Every image with objects or detections, worst first, sorted by F1, then by the weight of the errors."""
    scored = []
    for image in (image.above(score_threshold) for image in images):
        partner, ignored = match(image, overlaps(image.boxes, image.truth_boxes, image.crowd), IOU_THRESHOLD)
        wrong = (partner < 0) & ~ignored
        found = int(np.sum(partner >= 0))
        missed = int(np.sum(~image.crowd)) - found
        if found or missed or wrong.any():
            scored.append(ImageScore(image.image_id, found, missed, int(wrong.sum()),
                                     float(image.scores[wrong].sum()) + missed))
    # Among perfect images the one with the most objects is the best.
    return sorted(scored, key=lambda score: (score.f1, -score.error_weight, score.found, score.image_id))


def _classify(images: Sequence[ImageBoxes]) -> _Findings:
    """Find the right detections and classify the errors of the others, in TIDE's order of precedence."""
    scores, labels, errors, targets, truth_labels, missed = [], [], [], [], [], []
    offset = 0
    for image in images:
        overlap = overlaps(image.boxes, image.truth_boxes, image.crowd)
        partner, ignored = match(image, overlap, IOU_THRESHOLD)
        free = ~image.crowd
        free[partner[partner >= 0]] = False
        same = image.labels[:, None] == image.truth_labels[None]
        error, target = _errors_of_image(np.where(image.crowd, 0, overlap), same, free)
        error[partner >= 0] = NO_ERROR
        free[target[(error != NO_ERROR) & (target >= 0)]] = False
        # Objects are numbered over all images, crowds left out.
        number = np.cumsum(~image.crowd) - 1 + offset
        target = np.where(error == NO_ERROR, partner, target)
        scores.append(image.scores[~ignored])
        labels.append(image.labels[~ignored])
        errors.append(error[~ignored])
        targets.append(np.append(number, -1)[target][~ignored])
        truth_labels.append(image.truth_labels[~image.crowd])
        missed.append(free[~image.crowd])
        offset += len(truth_labels[-1])
    all_scores = _joined(scores, float)
    order = np.argsort(-all_scores, kind="stable")
    return _Findings(all_scores[order], _joined(labels, int)[order], _joined(errors, int)[order],
                     _joined(targets, int)[order], _joined(truth_labels, int), _joined(missed, bool))


def _joined(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts])


def _errors_of_image(overlap: np.ndarray, same: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error type of each detection if it were wrong (D,), and the object it would find if corrected (D,), or -1.

    overlap: (D, G), 0 for crowds. same: (D, G) bool, equal class. free: (G,) bool, objects that were not found.
    """
    def best(allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        restricted = np.column_stack([np.zeros(len(overlap)), np.where(allowed, overlap, 0)])
        return restricted.max(axis=1), restricted.argmax(axis=1) - 1

    own, own_object = best(same)
    other, other_object = best(~same)
    conditions = [(own >= BACKGROUND_IOU) & (own < IOU_THRESHOLD), other >= IOU_THRESHOLD, own >= IOU_THRESHOLD,
                  other < BACKGROUND_IOU]
    error = np.select(conditions, [LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH)
    target = np.select(conditions[:2], [own_object, other_object], -1)
    return error, np.where(np.append(free, False)[target], target, -1)


def _corrected(findings: _Findings, error: int) -> _Findings:
    """The findings without one type of error.

    A wrong class or box is corrected. It is removed if its object was found already, or if a better detection with one
    of these two errors belongs to the same object. The other types of errors are removed.
    """
    wrong = findings.error == error
    kept = ~wrong
    if error in (CLASSIFICATION, LOCALISATION):
        candidates = np.flatnonzero(np.isin(findings.error, (CLASSIFICATION, LOCALISATION)) & (findings.target >= 0))
        _, first = np.unique(findings.target[candidates], return_index=True)
        kept[candidates[first]] = True
    labels = findings.labels.copy()
    labels[wrong & kept] = findings.truth_labels[findings.target[wrong & kept]]
    return _Findings(findings.scores[kept], labels[kept], np.where(wrong, NO_ERROR, findings.error)[kept],
                     findings.target[kept], findings.truth_labels, findings.missed)


def _ap50(findings: _Findings, truth_labels: Optional[np.ndarray] = None) -> float:
    """COCO's AP at IoU 0.5: the mean over classes of the interpolated precision at 101 levels of recall.

    truth_labels: the objects to count instead of all; a class without any left counts as 0 if it has
    detections, as in tidecv."""
    counted = findings.truth_labels if truth_labels is None else truth_labels
    aps = []
    for label in np.unique(findings.truth_labels):
        right, count = np.cumsum(findings.error[findings.labels == label] == NO_ERROR), int(np.sum(counted == label))
        if not count:
            aps += [0.0] * bool(len(right))
            continue
        recall, precision = right / count, right / np.arange(1, len(right) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
        aps.append(envelope[np.searchsorted(recall, RECALL_LEVELS, side="left")].mean())
    return float(np.mean(aps)) if aps else 0.0
