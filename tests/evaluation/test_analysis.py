"""Confusions, error types and picture ranking: one example worked out by hand, and agreement with COCO's AP50."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.evaluation import analysis
from src.evaluation.coco import evaluate_coco
from src.evaluation.matching import group_by_image


def data_set(objects, images=(1, 2, 3)):
    """objects: (image, category, box[, crowd]) tuples."""
    return {"images": [{"id": image} for image in images],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [{"id": number, "image_id": image, "category_id": category, "bbox": list(box),
                             "area": box[2] * box[3], "iscrowd": int(any(crowd))}
                            for number, (image, category, box, *crowd) in enumerate(objects, 1)]}


def row(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


CAT, DOG = 1, 2
GROUND_TRUTH = data_set([
    (1, CAT, (0, 0, 40, 40)), (1, DOG, (100, 100, 40, 40)), (1, CAT, (0, 100, 40, 40)),
    (2, DOG, (0, 0, 40, 40)),
    (3, DOG, (0, 0, 40, 40)),
])
ROWS = [
    row(3, DOG, (0, 0, 40, 40), 0.95),      # right
    row(1, CAT, (0, 0, 40, 40), 0.9),       # right
    row(1, CAT, (0, 0, 40, 40), 0.8),       # duplicate
    row(1, CAT, (100, 100, 40, 40), 0.7),   # the dog: classification
    row(1, CAT, (20, 100, 40, 40), 0.6),    # IoU 1/3 with the second cat: localisation
    row(1, CAT, (160, 160, 30, 30), 0.5),   # background
    row(1, CAT, (120, 100, 40, 40), 0.4),   # IoU 1/3 with the dog: both
]
IMAGES = group_by_image(GROUND_TRUTH, ROWS)


def test_error_types_by_hand():
    """Cats: right first, then no more: precision 1 up to recall 1/2, 51 of the 101 levels. Dogs: 1 of 3, 34 levels.

    Classification: the dog of 0.7 is found as well, 2 of 3 dogs, 67 levels.
    Localisation: the second cat is found by the 4th cat detection, precision 2/4 on the other 50 levels.
    Missed: the dog of image 2 is not asked for, 1 of 2 dogs, 51 levels. (The other dog and the second cat are accounted
    for by the classification and the localisation error.)
    """
    errors = {error.name: error for error in analysis.error_types(IMAGES, score_threshold=0.45)}

    assert list(errors) == ["classification", "localisation", "both", "duplicate", "background", "missed"]
    gains = {"classification": (67 - 34) / 2 / 101, "localisation": 50 * 0.5 / 2 / 101, "both": 0, "duplicate": 0,
             "background": 0, "missed": (51 - 34) / 2 / 101}
    for name, gain in gains.items():
        assert errors[name].gain == pytest.approx(gain, abs=1e-12), name
    assert {name: error.count for name, error in errors.items()} == {
        "classification": 1, "localisation": 1, "both": 0, "duplicate": 1, "background": 1, "missed": 1}


def test_error_types_are_those_of_tide():
    """Counts and gains of tidecv 1.0.1. The box of 0.9 lies loosely on a cat that was found: localisation."""
    ground_truth = data_set([(1, CAT, (0, 0, 40, 40)), (1, DOG, (100, 100, 40, 40)), (1, CAT, (0, 100, 40, 40)),
                             (2, DOG, (0, 0, 40, 40)), (2, CAT, (200, 0, 40, 40))], images=(1, 2))
    rows = [row(1, CAT, (0, 0, 40, 40), 0.95), row(1, CAT, (20, 0, 40, 40), 0.9), row(1, CAT, (2, 0, 40, 40), 0.85),
            row(1, CAT, (100, 100, 40, 40), 0.8), row(1, DOG, (120, 100, 40, 40), 0.75),
            row(1, CAT, (20, 100, 40, 40), 0.7), row(2, CAT, (20, 0, 40, 40), 0.65), row(2, DOG, (0, 0, 40, 40), 0.6),
            row(2, CAT, (300, 300, 20, 20), 0.55), row(2, DOG, (220, 0, 40, 40), 0.5)]
    errors = {error.name: error for error in analysis.error_types(group_by_image(ground_truth, rows), 0)}
    assert {name: error.count for name, error in errors.items()} == {
        "classification": 1, "localisation": 3, "both": 2, "duplicate": 1, "background": 1, "missed": 1}
    tide = {"classification": 0.29125413, "localisation": 0.20792079, "both": 0, "duplicate": 0, "background": 0,
            "missed": 0.08415842}
    assert {name: error.gain for name, error in errors.items()} == pytest.approx(tide, abs=1e-6)


def test_with_one_class_no_error_is_of_the_class():
    """Loose boxes on the one cat, which was found."""
    ground_truth = data_set([(1, CAT, (0, 0, 40, 40))])
    rows = [row(1, CAT, (0, 0, 40, 40), 0.9), *(row(1, CAT, (15 + shift, 0, 40, 40), 0.5) for shift in range(9))]
    counts = {error.name: error.count for error in analysis.error_types(group_by_image(ground_truth, rows), 0)}
    assert counts == {"classification": 0, "localisation": 9, "both": 0, "duplicate": 0, "background": 0, "missed": 0}


def test_removing_wrong_detections_gains_what_stood_before_right_ones():
    """Background first, object second: precision 1/2 at every level; without the first it is 1."""
    ground_truth = data_set([(1, CAT, (0, 0, 40, 40))])
    images = group_by_image(ground_truth, [row(1, CAT, (99, 99, 9, 9), 0.9), row(1, CAT, (0, 0, 40, 40), 0.8)])
    gains = {error.name: error.gain for error in analysis.error_types(images, 0)}
    assert gains["background"] == pytest.approx(0.5)
    assert gains["missed"] == 0


def test_confusion_matrix_by_hand():
    """At 0.45: duplicate, box that is off and background detection have no object; second cat and one dog are lost."""
    matrix = analysis.confusion_matrix(IMAGES, classes=2, score_threshold=0.45)
    assert matrix.tolist() == [[1, 0, 1],
                               [1, 1, 1],
                               [3, 0, 0]]
    assert analysis.frequent_confusions(matrix) == [(1, 0, 1)]


def test_working_threshold_by_hand():
    """F1 after 1, 2, 3 ... detections: 2/6, 4/7, 4/8, ...; the second has score 0.9."""
    assert analysis.f1_curve(IMAGES).best == (0.9, 4 / 7)
    assert analysis.f1_curve(group_by_image(GROUND_TRUTH, [])).best is None


def test_a_threshold_takes_all_detections_of_equal_score():
    """Two objects, scores 0.9 right, then 0.5 right and three times 0.5 wrong: 2/3 at 0.9, 4/7 at 0.5."""
    ground_truth = data_set([(1, CAT, (0, 0, 40, 40)), (1, CAT, (100, 0, 40, 40))])
    rows = [row(1, CAT, (0, 0, 40, 40), 0.9), row(1, CAT, (100, 0, 40, 40), 0.5)]
    rows += [row(1, CAT, (100, 100 + 30 * index, 20, 20), 0.5) for index in range(3)]
    assert analysis.f1_curve(group_by_image(ground_truth, rows)).best.threshold == 0.9


def test_images_are_ranked_by_f1():
    """Image 2: nothing found. Image 1: 1 found, 2 missed, 4 wrong, F1 = 2 / (2 + 2 + 4). Image 3: perfect."""
    worst, middle, best = analysis.rank_images(IMAGES, score_threshold=0.45)
    assert (worst.image_id, worst.f1) == (2, 0)
    assert (middle.image_id, middle.f1, middle.found, middle.missed, middle.wrong) == (1, 0.25, 1, 2, 4)
    assert middle.error_weight == pytest.approx(0.8 + 0.7 + 0.6 + 0.5 + 2)
    assert (best.image_id, best.f1, best.error_weight) == (3, 1, 0)


def test_empty_images_are_neither_good_nor_bad():
    assert analysis.rank_images(group_by_image(data_set([]), []), 0) == []


boxes = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(5, 40)] * 2)
objects = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), boxes, st.booleans()), min_size=1, max_size=8)
scores = st.sampled_from([0.1, 0.3, 0.5, 0.9])
detections = st.lists(st.builds(row, st.integers(1, 3), st.integers(1, 2), boxes, scores), max_size=12)


@given(objects, detections)
@settings(max_examples=60, deadline=None)
def test_matching_is_cocos(objects, detections):
    pytest.importorskip("pycocotools")
    ground_truth = data_set(objects)
    ap50 = evaluate_coco(ground_truth, detections, backend="pycocotools").summary["AP50"]
    findings = analysis._classify(group_by_image(ground_truth, detections))
    assert analysis._ap50(findings) == pytest.approx(max(ap50, 0), abs=1e-9)


@given(objects, detections, scores)
@settings(max_examples=60, deadline=None)
def test_every_object_and_detection_is_accounted_for(objects, detections, threshold):
    images = group_by_image(data_set(objects), detections)
    matrix = analysis.confusion_matrix(images, 2, threshold)
    scored = analysis.rank_images(images, threshold)
    counted = sum(not crowd for *_, crowd in objects)
    assert matrix[:2].sum() == counted
    assert np.trace(matrix) == sum(image.found for image in scored)
    assert matrix[:, :2].sum() == sum(image.found + image.wrong for image in scored)
    assert counted == sum(image.found + image.missed for image in scored)


def test_no_images_at_all():
    assert analysis.f1_curve([]).best is None
    assert [error.gain for error in analysis.error_types([], 0)] == [0] * 6
    assert analysis.confusion_matrix([], 1, 0).tolist() == [[0, 0], [0, 0]]
