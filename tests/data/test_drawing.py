import numpy as np
import pytest

from src.data.drawing import CAPTION_HEIGHT, GAP, class_colour, contact_sheet, draw_boxes, fit

GREY = np.full((100, 200, 3), 100, np.uint8)
CLASSES = ("ring", "disc")


def test_a_box_is_drawn_on_a_copy_in_the_colour_of_its_class():
    image = np.full((100, 600, 3), 100, np.uint8)  # wide enough for lines of 2 pixels

    drawn = draw_boxes(image, [[50, 40, 150, 90]], [1], CLASSES)

    assert tuple(drawn[65, 50]) == pytest.approx(class_colour(1), abs=5)
    assert tuple(drawn[65, 149]) == pytest.approx(class_colour(1), abs=5)
    assert tuple(drawn[65, 100]) == (100, 100, 100)
    assert (image == 100).all()


def test_names_stand_above_the_box_or_inside_where_the_image_ends():
    above = draw_boxes(GREY, [[50, 40, 150, 90]], [1], CLASSES)
    inside = draw_boxes(GREY, [[50, 0, 150, 90]], [1], CLASSES)

    assert (above[30:38, 52:60] != 100).any() and (above[45:55, 55:145] == 100).all()
    assert (inside[3:12, 52:60] != 100).any()


@pytest.mark.parametrize("box", [[-1e30, -5, 1e30, 500], [0, 0, 0, 0], [190, 95, 400, 400], [np.nan, 0, np.inf, 9]])
def test_any_box_can_be_drawn(box):
    assert draw_boxes(GREY, [box], [0], CLASSES, scores=[0.5], crowd=[True]).shape == GREY.shape


def test_an_image_without_boxes_stays_as_it_is():
    assert (draw_boxes(GREY, np.zeros((0, 4)), [], CLASSES) == GREY).all()


@pytest.mark.parametrize("mask", [
    [[60, 50, 80, 50, 80, 70, 60, 70]],
    # Column by column: 60 columns of 100 and 50 rows outside, then 20 columns of 20 rows inside.
    {"size": [100, 200], "counts": [6050, *[20, 80] * 19, 20, 12030]},
    np.pad(np.ones((20, 20), bool), ((50, 30), (60, 120))),
])
def test_masks_of_every_form_are_blended_into_the_image(mask):
    drawn = draw_boxes(GREY, [[20, 30, 180, 95]], [0], CLASSES, masks=[mask])

    # 0.6 * 100 + 0.4 * (230, 25, 75)
    assert tuple(drawn[60, 70]) == (152, 70, 90)
    assert tuple(drawn[60, 100]) == (100, 100, 100)


def test_the_80_classes_of_coco_have_80_colours():
    assert len({class_colour(label) for label in range(80)}) == 80


def test_an_image_is_fitted_without_changing_its_shape():
    fitted, scale = fit(GREY, (150, 150))

    assert fitted.shape == (75, 150, 3)
    assert scale == (0.75, 0.75)


def test_a_contact_sheet_has_a_cell_for_every_image():
    sheet = contact_sheet([GREY] * 5, columns=2, cell=(50, 80), captions=list("abcde"))

    assert sheet.shape == (3 * (50 + GAP + CAPTION_HEIGHT) + GAP, 2 * (80 + GAP) + GAP, 3)
    # 100 x 200 in 50 x 80 is 40 x 80, centred: 5 rows of background above.
    assert (sheet[GAP + 5:GAP + 45, GAP:GAP + 80] == 100).all()


def test_the_box_with_the_best_score_is_on_top_whatever_its_size():
    """A large circle of 0.9 and a smaller triangle of 0.3 with nearly the same upper edge."""
    boxes = [[20, 30, 180, 95], [20, 30, 170, 90]]
    drawn = draw_boxes(GREY, boxes, [0, 1], CLASSES, scores=[0.9, 0.3])
    only = draw_boxes(GREY, boxes[:1], [0], CLASSES, scores=[0.9])
    tag = only != draw_boxes(GREY, boxes[:1], [0], [""], scores=[0.9])   # the pixels of the name
    assert tag.any() and (drawn[tag] == only[tag]).all()
    np.testing.assert_allclose(drawn[30, 150].astype(int), only[30, 150].astype(int), atol=40)


def test_a_name_gives_way_to_one_with_a_better_score_and_stays_readable():
    """Two boxes of one place: the better name stands above, the other one inside."""
    drawn = draw_boxes(GREY, [[20, 40, 180, 95]] * 2, [0, 1], CLASSES, scores=[0.3, 0.9])
    better, other = class_colour(1), class_colour(0)
    assert (drawn[25:39] == better).all(axis=2).any() and not (drawn[25:39] == other).all(axis=2).any()
    assert (drawn[42:54, 22:60] == other).all(axis=2).any()
