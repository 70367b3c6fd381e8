import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.ssd.transforms import (
    CROP_OVERLAPS,
    MEAN,
    TrainTransform,
    adjust_color,
    eval_input,
    normalize,
    random_crop,
    resize,
    zoom_out,
)

SEEDS = st.integers(0, 2 ** 32 - 1)


class KeepsTruth:
    """Takes the place of the target encoder: gives boxes and labels back as they come out of the augmentation."""

    def __call__(self, boxes, labels):
        return boxes, labels


@st.composite
def pictures(draw, least=0):
    """(picture, target) with up to five objects; the label of an object tells where its box was drawn."""
    height, width = draw(st.integers(8, 90)), draw(st.integers(8, 90))
    count = draw(st.integers(least, 5))
    rng = np.random.default_rng(draw(SEEDS))
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * [width, height]
    target = {"boxes": corners.reshape(count, 4).astype(np.float32), "labels": np.arange(count, dtype=np.int32),
              "crowd": rng.random(count) < 0.2}
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), target


def rows_first(boxes):
    """x1, y1, x2, y2 -> y1, x1, y2, x2."""
    return boxes[:, [1, 0, 3, 2]]


@given(pictures(), SEEDS, st.sampled_from([1.0, 3.0]))
@settings(max_examples=100, deadline=None)
def test_what_comes_out_has_the_size_of_the_network_and_boxes_inside_it(picture, seed, largest_canvas):
    image, target = picture
    sample = TrainTransform((30, 40), KeepsTruth(), zoom_out=largest_canvas)(image, target, np.random.default_rng(seed))
    boxes, labels = sample["deltas"], sample["classes"]
    assert sample["image"].shape == (30, 40, 3) and sample["image"].dtype == np.uint8
    assert boxes.shape == (len(labels), 4) and boxes.dtype == np.float32
    assert (boxes >= -1e-6).all() and (boxes <= 1 + 1e-6).all()
    assert (boxes[:, 2:] >= boxes[:, :2]).all()


@given(pictures(), SEEDS)
@settings(max_examples=50, deadline=None)
def test_crowds_are_nobodys_target(picture, seed):
    image, target = picture
    sample = TrainTransform((30, 40), KeepsTruth())(image, target, np.random.default_rng(seed))
    assert set(sample["classes"]) <= set(np.flatnonzero(~target["crowd"]))


@given(pictures(), SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_sample_depends_on_nothing_but_the_generator(picture, seed):
    image, target = picture
    before = image.copy(), {name: array.copy() for name, array in target.items()}
    transform = TrainTransform((30, 40), KeepsTruth(), zoom_out=2.0)
    first, second = (transform(image, target, np.random.default_rng(seed)) for _ in range(2))
    for name in ("image", "deltas", "classes"):
        np.testing.assert_array_equal(first[name], second[name])
    np.testing.assert_array_equal(image, before[0])
    for name, array in before[1].items():
        np.testing.assert_array_equal(target[name], array)


def test_other_seeds_give_other_samples():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    target = {"boxes": np.array([[10, 10, 50, 50]], np.float32), "labels": np.zeros(1, int), "crowd": np.zeros(1, bool)}
    transform = TrainTransform((30, 40), KeepsTruth())
    samples = [transform(image, target, np.random.default_rng(seed))["image"].tobytes() for seed in range(10)]
    assert len(set(samples)) == 10


@given(pictures())
@settings(max_examples=30, deadline=None)
def test_flipping_mirrors_boxes_and_twice_gives_the_picture_back(picture):
    image, target = picture
    target["crowd"][:] = False
    size = np.array([image.shape[1], image.shape[0]] * 2, np.float32)

    def augmented(image, target, flip_prob):
        transform = TrainTransform(image.shape[:2], KeepsTruth(), flip_prob=flip_prob, color_jitter=(0, 0, 0),
                                   crop_tries=0)
        sample = transform(image, target, np.random.default_rng(0))
        return sample["image"], {**target, "boxes": rows_first(sample["deltas"]) * size}

    once = augmented(image, target, flip_prob=1.0)
    twice = augmented(*once, flip_prob=1.0)
    np.testing.assert_array_equal(once[0], image[:, ::-1])
    np.testing.assert_allclose(once[1]["boxes"][:, [0, 2]], size[0] - target["boxes"][:, [2, 0]], atol=1e-3)
    np.testing.assert_array_equal(twice[0], image)
    np.testing.assert_allclose(twice[1]["boxes"], target["boxes"], atol=1e-3)
    unflipped = augmented(image, target, flip_prob=0.0)
    np.testing.assert_array_equal(unflipped[0], image)


# Crop

@given(pictures(), SEEDS)
@settings(max_examples=100, deadline=None)
def test_a_crop_keeps_the_boxes_whose_centre_it_holds(picture, seed):
    image, target = picture
    boxes = rows_first(target["boxes"])
    cropped, kept_boxes, kept = random_crop(image, boxes, np.random.default_rng(seed))
    limit = np.tile(cropped.shape[:2], 2)
    assert len(kept_boxes) == len(kept) and len(kept) >= min(len(boxes), 1)
    assert (kept_boxes >= 0).all() and (kept_boxes <= limit).all()
    # Cutting makes a box smaller, never larger.
    sides, whole = kept_boxes[:, 2:] - kept_boxes[:, :2], boxes[kept, 2:] - boxes[kept, :2]
    assert (sides <= whole + 1e-3).all()


@pytest.mark.parametrize("seed", range(20))
def test_labels_follow_their_boxes(seed):
    # Four objects, each filled with a grey of its own: the middle of a box tells whose it is.
    image = np.zeros((100, 120, 3), np.uint8)
    boxes = np.array([[5, 5, 30, 25], [70, 5, 110, 40], [10, 60, 40, 95], [60, 55, 115, 90]], np.float32)
    for index, (left, top, right, bottom) in enumerate(boxes.astype(int)):
        image[top:bottom, left:right] = 50 * (index + 1)
    target = {"boxes": boxes, "labels": np.arange(4), "crowd": np.array([False, True, False, False])}
    transform = TrainTransform((60, 60), KeepsTruth(), color_jitter=(0, 0, 0), zoom_out=1.5)
    sample = transform(image, target, np.random.default_rng(seed))
    middles = (30 * (sample["deltas"][:, :2] + sample["deltas"][:, 2:])).astype(int)
    assert [sample["image"][y, x, 0] for y, x in middles] == [50 * (label + 1) for label in sample["classes"]]


class Draws:
    """A generator whose crop overlap and further draws are given."""

    def __init__(self, overlap, *draws):
        self.overlap, self.draws = overlap, list(draws)

    def choice(self, overlaps):
        assert self.overlap in overlaps
        return self.overlap

    def random(self):
        return self.draws.pop(0)


def test_a_crop_worked_out_by_hand():
    # Width 0.3 + 0.7 x 2/7 = 0.5 of 100, height 0.3 + 0.7 x 3/7 = 0.6 of 100; left 0.2 of 50, top 0.5 of 40.
    # The draws are a little larger, since the corners are cut down to whole pixels.
    image = np.arange(100 * 100 * 3, dtype=np.int64).reshape(100, 100, 3).astype(np.uint8)
    boxes = np.array([[30, 5, 50, 45], [0, 0, 10, 10], [70, 55, 90, 95]], np.float32)
    draws = Draws(0.1, 2.001 / 7, 3.001 / 7, 0.2005, 0.5005)
    cropped, kept_boxes, kept = random_crop(image, boxes, draws)
    # Rows 20 to 80, columns 10 to 60. The first box loses its left 5 columns; the others' centres lie outside.
    np.testing.assert_array_equal(cropped, image[20:80, 10:60])
    assert kept.tolist() == [0]
    np.testing.assert_array_equal(kept_boxes, [[10, 0, 30, 35]])


def test_a_crop_that_hides_too_much_of_an_object_is_refused_where_it_has_to_stay_visible():
    # The crop worked out above shows 35 of the box's 40 columns.
    image, boxes = np.zeros((100, 100, 3), np.uint8), np.array([[30, 5, 50, 45]], np.float32)
    draws = [2.001 / 7, 3.001 / 7, 0.2005, 0.5005]
    for overlap, rule, is_cropped in ((0.7, "visible", True), (0.9, "visible", False), (0.9, "zoo", True)):
        cropped, _, _ = random_crop(image, boxes, Draws(overlap, *draws), tries=1, rule=rule)
        assert (cropped.shape != image.shape) == is_cropped


def test_a_large_object_is_cut_less_often_where_it_has_to_stay_visible():
    def cut(rule):
        rng, parts = np.random.default_rng(1), []
        for _ in range(300):
            side = rng.uniform(30, 95)
            left, top = rng.uniform(0, 100 - side, 2)
            box = np.array([[top, left, top + side, left + side]], np.float32)
            _, boxes, _ = random_crop(np.zeros((100, 100, 3), np.uint8), box, rng, rule=rule)
            parts.append(np.prod(boxes[0, 2:] - boxes[0, :2]) / side ** 2)
        return np.mean(np.array(parts) < 0.7)

    assert cut("zoo") > 0.35 and cut("visible") < 0.28


def test_a_picture_without_objects_is_never_cropped():
    image, nothing = np.zeros((20, 30, 3), np.uint8), np.zeros((0, 4), np.float32)
    for overlap in CROP_OVERLAPS:
        cropped, boxes, kept = random_crop(image, nothing, Draws(overlap))
        assert cropped is image and boxes.shape == (0, 4) and len(kept) == 0


def test_a_picture_stays_whole_when_no_crop_fits():
    # Crops of 0.3 x 1.0 are too narrow, fifty times.
    image, boxes = np.zeros((50, 50, 3), np.uint8), np.array([[10, 10, 30, 30]], np.float32)
    cropped, kept_boxes, kept = random_crop(image, boxes, Draws(0.5, *[0.0, 1.0] * 50), tries=50)
    assert cropped is image and kept.tolist() == [0]
    np.testing.assert_array_equal(kept_boxes, boxes)


# Zoom out

@given(pictures(), SEEDS, st.floats(1, 4))
@settings(max_examples=50, deadline=None)
def test_zooming_out_moves_picture_and_boxes_together(picture, seed, largest):
    image, target = picture
    boxes = rows_first(target["boxes"])
    canvas, moved = zoom_out(image, boxes, largest, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)   # the same draws once more: size, top, left
    ratio, height, width = 1 + (largest - 1) * rng.random(), *image.shape[:2]
    top = int(rng.random() * (int(height * ratio) - height))
    left = int(rng.random() * (int(width * ratio) - width))
    assert canvas.shape == (int(height * ratio), int(width * ratio), 3)
    np.testing.assert_array_equal(canvas[top:top + height, left:left + width], image)
    np.testing.assert_allclose(moved, boxes + [top, left, top, left], atol=1e-3)
    assert (moved >= 0).all() and (moved <= np.tile(canvas.shape[:2], 2) + 1e-3).all()
    # Around the picture lies the mean colour, which the network sees as zero.
    canvas[top:top + height, left:left + width] = MEAN.round()
    assert (canvas == MEAN.round()).all()


# Colour

@given(pictures(), SEEDS)
@settings(max_examples=30, deadline=None)
def test_colour_without_strength_changes_nothing(picture, seed):
    image, _ = picture
    np.testing.assert_array_equal(adjust_color(image, (0, 0, 0), np.random.default_rng(seed)), image)


def test_brightness_multiplies():
    # Factor 1 + 0.5 (2 x 1 - 1) = 1.5, clipped at 255.
    image = np.array([[[10, 100, 200]]], np.uint8)
    changed = adjust_color(image, (0.5, 0, 0), Draws(None, 1.0, 0.5, 0.5))
    np.testing.assert_array_equal(changed, [[[15, 150, 255]]])


def test_no_contrast_left_is_the_mean_grey():
    # Factor 1 + 1 (2 x 0 - 1) = 0: every value becomes the mean of the grey picture.
    image = np.full((4, 4, 3), 80, np.uint8)
    image[2:] = 120
    changed = adjust_color(image, (0, 1, 0), Draws(None, 0.5, 0.0, 0.5))
    assert len(np.unique(changed)) == 1 and 80 <= changed[0, 0, 0] <= 120


def test_no_saturation_left_is_grey():
    image = np.array([[[200, 100, 50], [0, 255, 0]]], np.uint8)
    changed = adjust_color(image, (0, 0, 1), Draws(None, 0.5, 0.5, 0.0)).astype(int)
    # 0.299 R + 0.587 G + 0.114 B
    np.testing.assert_allclose(changed[0, :, 0], [124, 150], atol=1)
    np.testing.assert_array_equal(changed.max(axis=2), changed.min(axis=2))


# Evaluation

def test_evaluation_input_is_the_normalised_resized_picture():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    network_input = eval_input(image, (30, 40))
    assert network_input.shape == (3, 30, 40) and network_input.dtype == np.float32
    np.testing.assert_array_equal(network_input, normalize(resize(image, (30, 40))))


def test_normalising_gives_the_mean_colour_the_value_zero():
    # 255 is (1 - 0.485) / 0.229 = 2.2489 spreads above the mean of red.
    image = np.stack([MEAN, [255, 0, 255]])[None].astype(np.float32)
    np.testing.assert_allclose(normalize(image)[:, 0, 0], 0, atol=1e-6)
    np.testing.assert_allclose(normalize(image)[:, 0, 1], [2.2489, -2.0357, 2.6400], atol=1e-4)
