import numpy as np

from src.ssd.decode import decode

SETTINGS = dict(min_score=0.1, nms_threshold=0.6, max_boxes=100)


def test_boxes_become_pixels_x_first_and_the_background_column_goes():
    # A picture of 200 x 400; the box spans rows 20 to 100 and columns 80 to 320.
    boxes, scores = np.array([[0.1, 0.2, 0.5, 0.8]], np.float32), np.array([[0.95, 0.05, 0.7]], np.float32)
    detections = decode(boxes, scores, (200, 400), **SETTINGS)
    np.testing.assert_allclose(detections.boxes, [[80, 20, 320, 100]])
    np.testing.assert_allclose(detections.scores, [0.7])
    assert detections.labels.tolist() == [1]
    assert (detections.boxes.dtype, detections.scores.dtype, detections.labels.dtype) == (
        np.float32, np.float32, np.int32)


def far_apart(count):
    """Boxes in a row that do not touch."""
    left = np.arange(count, dtype=np.float32) / count
    return np.stack([np.zeros(count), left, np.ones(count), left + 0.5 / count], axis=1).astype(np.float32)


def test_detections_of_all_classes_come_best_first():
    scores = np.array([[0, 0.3, 0.6], [0, 0.9, 0.2], [0, 0.5, 0.05]], np.float32)
    detections = decode(far_apart(3), scores, (100, 100), **SETTINGS)
    np.testing.assert_allclose(detections.scores, [0.9, 0.6, 0.5, 0.3, 0.2])
    assert detections.labels.tolist() == [0, 1, 0, 0, 1]


def test_max_boxes_limits_a_class_and_max_per_image_the_picture():
    scores = np.array([[0, 0.9, 0.4], [0, 0.8, 0.3], [0, 0.7, 0.2]], np.float32)
    per_class = decode(far_apart(3), scores, (100, 100), min_score=0.1, nms_threshold=0.6, max_boxes=2)
    np.testing.assert_allclose(per_class.scores, [0.9, 0.8, 0.4, 0.3])
    per_image = decode(far_apart(3), scores, (100, 100), **SETTINGS, max_per_image=3)
    np.testing.assert_allclose(per_image.scores, [0.9, 0.8, 0.7])


def test_no_score_above_the_minimum_is_no_detection():
    detections = decode(far_apart(3), np.full((3, 3), 0.05, np.float32), (100, 100), **SETTINGS)
    assert len(detections) == 0 and detections.boxes.shape == (0, 4)
