"""VOC metrics: cases worked out by hand, and agreement with the devkit's loop written out plainly."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.evaluation.matching import group_by_image, sorted_categories
from src.evaluation.voc import evaluate_voc


def data_set(objects, images=(1, 2), categories=(1, 2)):
    """objects: (image, category, box[, difficult]) tuples; difficult ones come as crowds out of `to_coco`."""
    return {"images": [{"id": image} for image in images],
            "categories": [{"id": category, "name": f"class {category}"} for category in categories],
            "annotations": [{"id": number, "image_id": image, "category_id": category, "bbox": list(box),
                             "iscrowd": int(any(difficult))}
                            for number, (image, category, box, *difficult) in enumerate(objects, 1)]}


def row(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


def evaluate(ground_truth, rows, **options):
    names = [category["name"] for category in sorted_categories(ground_truth)]
    return evaluate_voc(group_by_image(ground_truth, rows), names, **options)


def test_three_counted_detections_by_hand():
    """Two objects and a difficult one. Detections by score: right, on the difficult one (does not count), wrong, right.

    Precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1. 11-point: the levels 0 to 0.5 see 1, the other five 2/3.
    All-point: 1/2 * 1 + 1/2 * 2/3.
    """
    ground_truth = data_set([(1, 1, (0, 0, 40, 40)), (1, 1, (100, 0, 40, 40), True), (2, 1, (0, 0, 40, 40))])
    rows = [row(1, 1, (0, 0, 40, 40), 0.9), row(1, 1, (100, 0, 40, 40), 0.8), row(2, 1, (100, 100, 40, 40), 0.7),
            row(2, 1, (0, 0, 40, 40), 0.6)]

    result = evaluate(ground_truth, rows)

    first, second = result.per_class
    assert first.objects == 2
    assert first.AP_11_point == pytest.approx((6 + 5 * 2 / 3) / 11, abs=1e-12)
    assert first.AP_all_point == pytest.approx(1 / 2 + 1 / 3, abs=1e-12)
    assert second.objects == 0 and np.isnan(second.AP_11_point)
    assert result.mAP_all_point == first.AP_all_point  # a class without objects does not count
    assert "difficult objects are ignored" in result.table() and "width = x2 - x1" in result.table()


def test_a_second_detection_of_an_object_is_wrong():
    """VOC gives a detection to the object it overlaps most, even if that one is taken and another would do."""
    ground_truth = data_set([(1, 1, (0, 0, 40, 40)), (1, 1, (10, 0, 40, 40))])
    rows = [row(1, 1, (0, 0, 40, 40), 0.9), row(1, 1, (1, 0, 40, 40), 0.8)]
    assert evaluate(ground_truth, rows).per_class[0].AP_all_point == 0.5


def test_the_extra_pixel():
    """Corners 0..9 and 3..12: 6 * 9 of 108 is IoU 0.5; with the devkit's pixel 7 * 10 of 130 is 0.538."""
    ground_truth, rows = data_set([(1, 1, (0, 0, 9, 9))]), [row(1, 1, (3, 0, 9, 9), 0.5)]
    assert evaluate(ground_truth, rows, iou_threshold=0.52).mAP_all_point == 0
    with_pixel = evaluate(ground_truth, rows, iou_threshold=0.52, extra_pixel=True)
    assert with_pixel.mAP_all_point == 1
    assert "width = x2 - x1 + 1" in with_pixel.table()


def test_a_recall_that_equals_a_level_reaches_it():
    """3 of 10 objects found by the 3 only detections: the levels 0, 0.1, 0.2 and 0.3 see precision 1."""
    ground_truth = data_set([(1, 1, (50 * column, 0, 40, 40)) for column in range(10)])
    rows = [row(1, 1, (50 * column, 0, 40, 40), 0.5) for column in range(3)]
    assert evaluate(ground_truth, rows).mAP_11_point == pytest.approx(4 / 11)


def test_no_detections_and_no_objects():
    assert evaluate(data_set([(1, 1, (0, 0, 9, 9))]), []).mAP_11_point == 0
    assert np.isnan(evaluate(data_set([]), []).mAP_all_point)


def devkit(ground_truth, rows, category, threshold):
    """VOCevaldet.m, line by line: recall and precision after each detection."""
    truths = [dict(one, found=False) for one in ground_truth["annotations"] if one["category_id"] == category]
    positives = sum(not one["iscrowd"] for one in truths)
    right = wrong = 0
    curve = []
    for detection in sorted((one for one in rows if one["category_id"] == category), key=lambda one: -one["score"]):
        best, owner = -np.inf, None
        for truth in truths:
            if truth["image_id"] == detection["image_id"]:
                (ax, ay, aw, ah), (bx, by, bw, bh) = truth["bbox"], detection["bbox"]
                width = min(ax + aw, bx + bw) - max(ax, bx) + 1
                height = min(ay + ah, by + bh) - max(ay, by) + 1
                if width > 0 and height > 0:
                    shared = width * height
                    overlap = shared / ((aw + 1) * (ah + 1) + (bw + 1) * (bh + 1) - shared)
                    if overlap > best:
                        best, owner = overlap, truth
        if best >= threshold and owner["iscrowd"]:
            continue
        if best >= threshold and not owner["found"]:
            right += 1
            owner["found"] = True
        else:
            wrong += 1
        curve.append((right / positives if positives else 0, right / (right + wrong)))
    return positives, curve


boxes = st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(5, 40)] * 2)
objects = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), boxes, st.booleans()), max_size=8)
drawn = st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), boxes), max_size=10)


@given(objects, drawn)
@settings(max_examples=60, deadline=None)
def test_equal_to_the_devkits_loop(objects, drawn):
    ground_truth = data_set(objects)
    rows = [row(*one, (index * 7 % 11 + 1) / 20) for index, one in enumerate(drawn)]
    result = evaluate(ground_truth, rows, extra_pixel=True)
    for category, one in zip((1, 2), result.per_class):
        positives, curve = devkit(ground_truth, rows, category, 0.5)
        assert one.objects == positives
        if positives:
            levels = [max((p for r, p in curve if r >= level / 10 - 1e-9), default=0) for level in range(11)]
            assert one.AP_11_point == pytest.approx(np.mean(levels), abs=1e-12)
