"""Overlaps and COCO's matching, by hand."""
import numpy as np
import pytest

from src.evaluation.matching import ImageBoxes, group_by_image, match, overlaps


def image(detections, objects, crowd=None):
    """Boxes of one class as x1, y1, x2, y2; detections are best first."""
    detections, objects = np.array(detections, float).reshape(-1, 4), np.array(objects, float).reshape(-1, 4)
    return ImageBoxes(1, detections, np.linspace(1, 0.5, len(detections)), np.zeros(len(detections), int),
                      objects, np.zeros(len(objects), int), np.array(crowd or [False] * len(objects), bool))


def matched(one, threshold=0.5):
    partner, ignored = match(one, overlaps(one.boxes, one.truth_boxes, one.crowd), threshold)
    return partner.tolist(), ignored.tolist()


def test_overlaps_by_hand():
    """Half of a box: 0.5. Shifted by half: 1/3. As a crowd, the covered part of the detection counts: 1 and 1/2."""
    detections = np.array([[0, 0, 40, 20], [20, 0, 60, 40], [50, 50, 50, 50]], float)
    truth = np.array([[0, 0, 40, 40]], float)
    assert overlaps(detections, truth)[:, 0] == pytest.approx([0.5, 1 / 3, 0])
    assert overlaps(detections, truth, crowd=np.array([True]))[:, 0] == pytest.approx([1, 0.5, 0])


def test_an_iou_that_equals_the_threshold_is_enough():
    assert matched(image([[0, 0, 40, 20]], [[0, 0, 40, 40]])) == ([0], [False])


def test_the_better_detection_chooses_first_and_each_object_is_found_once():
    assert matched(image([[0, 0, 40, 40], [0, 0, 40, 40]], [[0, 0, 40, 40]])) == ([0, -1], [False, False])


def test_a_tie_goes_to_the_later_object_as_in_pycocotools():
    """The first detection overlaps both objects by 0.6 and takes the later one, which the second would have needed."""
    assert matched(image([[10, 0, 50, 40], [22, 0, 62, 40]], [[0, 0, 40, 40], [20, 0, 60, 40]])) == (
        [1, -1], [False, False])


def test_an_object_goes_before_a_crowd_and_a_crowd_takes_any_number():
    one = image([[0, 0, 40, 40], [0, 0, 40, 40], [5, 0, 45, 40]], [[0, 0, 90, 90], [2, 0, 42, 40]], [True, False])
    assert matched(one) == ([1, -1, -1], [False, True, True])


def test_grouping_sorts_by_score_and_leaves_unknown_categories_out():
    ground_truth = {"images": [{"id": 7}, {"id": 2}], "categories": [{"id": 9, "name": "b"}, {"id": 4, "name": "a"}],
                    "annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 2, 3, 4]}]}
    rows = [{"image_id": 7, "category_id": category, "bbox": [0, 0, 1, 1], "score": score}
            for category, score in ((4, 0.1), (9, 0.8), (5, 0.9))]
    first, second = group_by_image(ground_truth, rows)
    assert (first.image_id, len(first.scores), len(first.crowd)) == (2, 0, 0)
    assert second.scores.tolist() == [0.8, 0.1] and second.labels.tolist() == [1, 0]
    assert second.truth_boxes.tolist() == [[1, 2, 4, 6]] and second.truth_labels.tolist() == [1]
