import numpy as np
import pytest

from src.faster_rcnn.decode import decode
from src.faster_rcnn.targets import AnchorSampler
from src.faster_rcnn.transforms import TrainTransform, expand, fit

BOXES = np.array([[10, 20, 50, 80], [0, 0, 200, 100]], np.float32)


@pytest.mark.parametrize("keep_ratio, resized", [(True, (96, 192)), (False, (96, 320))])
def test_a_picture_lies_in_the_corner_of_the_canvas(keep_ratio, resized):
    placement = fit((100, 200), (96, 320), keep_ratio)
    canvas = placement.draw(np.full((100, 200, 3), 200, np.uint8))
    assert canvas.shape == (96, 320, 3) and placement.resized_size == resized
    assert (canvas[:, :resized[1]] == 200).all() and not canvas[:, resized[1]:].any()


@pytest.mark.parametrize("keep_ratio", [True, False])
def test_boxes_come_back_as_they_went(keep_ratio):
    placement = fit((100, 200), (96, 320), keep_ratio)
    # The canvas ends with the middle of its last pixel, which costs a box at the edge less than a tenth of one.
    np.testing.assert_allclose(placement.to_image(placement.to_canvas(BOXES)), BOXES, atol=0.1)


def test_the_last_pixel_of_a_box_worked_out_by_hand():
    # Twice as large: pixels 10 to 49 (x2 = 50 is the edge behind them) become 20 to 98.
    placement = fit((100, 200), (200, 400), keep_ratio=True)
    np.testing.assert_allclose(placement.to_canvas(BOXES[:1]), [[20, 40, 98, 158]])


def test_mirroring_moves_boxes_with_the_canvas():
    transform = TrainTransform((64, 128), no_anchors(), max_objects=4, priorities=3, flip_prob=1, expand_prob=0)
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:16, 4:12] = 255
    target = {"boxes": np.array([[4, 8, 12, 16]], np.float32), "labels": np.array([1]), "crowd": np.array([False])}
    sample = transform(image, target, np.random.default_rng(0))
    bright = np.argwhere(sample["image"][..., 0] > 128)
    top, left, bottom, right = *bright.min(axis=0), *bright.max(axis=0)
    np.testing.assert_allclose(sample["boxes"][0], [left, top, right, bottom], atol=1)
    assert sample["labels"].tolist() == [2, 0, 0, 0] and sample["priority"].shape == (3,)


def no_anchors():
    return AnchorSampler([np.array([[0, 0, 9, 9]], np.float32)], (64, 128), positive_iou=0.7, negative_iou=0.3,
                         min_positive_iou=0.3, samples=2, positives=1)


def test_expanded_pictures_take_their_boxes_along():
    for seed in range(5):
        image = np.full((40, 60, 3), 255, np.uint8)
        canvas, (top, left) = expand(image, np.random.default_rng(seed))
        assert 40 <= canvas.shape[0] <= 160 and canvas[top:top + 40, left:left + 60].min() == 255
        transform = TrainTransform((64, 128), no_anchors(), max_objects=1, priorities=1, flip_prob=0, expand_prob=1)
        drawn, placement = transform.place(image, np.random.default_rng(seed))
        (box,) = placement.to_canvas(np.array([[0, 0, 60, 40]], np.float32))
        bright = np.argwhere(drawn[..., 0] > 128)
        np.testing.assert_allclose(box, [*bright.min(axis=0)[::-1], *bright.max(axis=0)[::-1]], atol=1.5)


def test_of_too_many_objects_some_are_drawn_and_no_crowd_ever():
    transform = TrainTransform((64, 128), no_anchors(), max_objects=3, priorities=1)
    target = {"boxes": np.tile(np.array([[1, 1, 9, 9]], np.float32), (10, 1)), "labels": np.arange(10),
              "crowd": np.arange(10) >= 8}
    seen = set()
    for seed in range(20):
        labels = transform(np.zeros((64, 128, 3), np.uint8), target, np.random.default_rng(seed))["labels"]
        assert len(set(labels)) == 3
        seen.update(labels.tolist())
    assert seen == set(range(1, 9))


def test_detections_are_cut_at_the_edge_of_the_picture():
    placement = fit((100, 200), (200, 640), keep_ratio=True)  # twice as large, the right third is padding
    boxes = np.array([[20, 40, 98, 158, 0.9], [380, 100, 500, 150, 0.8], [450, 0, 600, 100, 0.7], [0, 0, 9, 9, 0]],
                     np.float32)
    found = decode(boxes, np.array([[2], [0], [1], [0]]), np.array([[True], [True], [True], [False]]), placement)
    np.testing.assert_allclose(found.boxes, [[10, 20, 50, 80], [190, 50, 200, 76]])
    np.testing.assert_allclose(found.scores, [0.9, 0.8])
    assert found.labels.tolist() == [2, 0]
