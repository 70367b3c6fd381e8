import numpy as np
import pytest

from src.faster_rcnn.targets import AnchorSampler
from src.faster_rcnn.transforms import Placement
from src.mask_rcnn.transforms import TrainTransform, pack
from src.ops.anchors import grid_anchors
from src.ops.masks import bitmap

SIZE = (64, 96)
SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]     # pixels 10 to 29
RUNS = {"size": [40, 48], "counts": [40 * 40, 40 * 4, 40 * 4]}  # columns 40 to 43


def transform(**options) -> TrainTransform:
    sampler = AnchorSampler([grid_anchors((16, 24), 4, [4], [1.0])], SIZE, positive_iou=0.7, negative_iou=0.3,
                            min_positive_iou=0.3, samples=16, positives=8)
    return TrainTransform(SIZE, sampler, max_objects=4, priorities=20,
                          **{"flip_prob": 0, "expand_prob": 0, **options})


def sample(crowd=(False, False)) -> dict:
    return {"boxes": np.float32([[10, 10, 30, 30], [40, 0, 44, 40]]), "labels": np.int32([0, 2]),
            "crowd": np.array(crowd), "segments": [SQUARE, RUNS]}


def prepared(seed=0, crowd=(False, False), **options) -> tuple:
    """(the arrays, bitmaps unpacked) of a picture of 40 x 48."""
    arrays = transform(**options)(np.zeros((40, 48, 3), np.uint8), sample(crowd), np.random.default_rng(seed))
    return arrays, np.unpackbits(arrays["bitmaps"], axis=2)


def test_bitmaps_lie_where_the_boxes_lie():
    """40 rows become 64: 10 to 29 become 16 to 47. 48 columns become 77: 10 to 29 become 17 to 48, 40 to 43 become 65
    to 70."""
    arrays, canvas = prepared()

    assert arrays["bitmaps"].shape == (4, 64, 12) and arrays["bitmaps"].dtype == np.uint8
    want = np.zeros((4, *SIZE), np.uint8)
    want[0, 16:48, 17:49] = 1
    want[1, :, 65:71] = 1
    assert (canvas == want).all()


def test_a_flip_mirrors_bitmaps_and_boxes_alike():
    _, straight = prepared()
    arrays, flipped = prepared(flip_prob=1)

    assert (flipped == straight[:, :, ::-1]).all()
    x1, y1, x2, y2 = np.round(arrays["boxes"][0]).astype(int)
    assert flipped[0, y1:y2 + 1, x1:x2 + 1].mean() > 0.95 and flipped[0].sum() == 32 * 32


@pytest.mark.parametrize("seed", range(8))
def test_expanded_pictures_too(seed):
    """The box is the bitmap's own to within a pixel and a rounded scale, wherever the picture lies on the canvas."""
    arrays, canvas = prepared(seed, expand_prob=1)

    for box, label, one in zip(arrays["boxes"], arrays["labels"], canvas):
        if label:
            rows, columns = np.nonzero(one)
            extent = [columns.min(), rows.min(), columns.max(), rows.max()]
            assert np.abs(extent - box).max() <= 2


def test_a_crowd_has_no_bitmap_and_the_others_move_up():
    arrays, canvas = prepared(crowd=(True, False))

    assert arrays["labels"].tolist() == [3, 0, 0, 0]
    assert canvas[0].sum() == 64 * 6 and canvas[1:].max() == 0


def test_of_too_many_objects_rows_and_bitmaps_are_the_same_ones():
    target = {"boxes": np.float32([[x, 0, x + 4, 4] for x in range(0, 40, 4)]), "labels": np.arange(10, dtype=np.int32),
              "crowd": np.zeros(10, bool), "segments": [[[x, 0, x + 4, 0, x + 4, 4, x, 4]] for x in range(0, 40, 4)]}

    arrays = transform()(np.zeros((40, 48, 3), np.uint8), target, np.random.default_rng(0))

    for box, one in zip(arrays["boxes"], np.unpackbits(arrays["bitmaps"], axis=2)):
        assert np.nonzero(one)[1].min() == pytest.approx(box[0], abs=1)


def test_a_canvas_of_the_pictures_own_size_holds_its_pixels():
    placement = Placement((40, 48), (40, 48), (40, 48), (1.0, 1.0))

    packed = pack([SQUARE, RUNS], placement)

    assert packed.shape == (2, 40, 6)
    for one, segment in zip(np.unpackbits(packed, axis=2), (SQUARE, RUNS)):
        assert (one == bitmap(segment, 40, 48)).all()
