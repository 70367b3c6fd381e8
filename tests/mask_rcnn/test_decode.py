import numpy as np
from pycocotools import mask as coco_mask

from src.faster_rcnn.transforms import Placement
from src.mask_rcnn.decode import decode

PLACEMENT = Placement((40, 60), (80, 160), (80, 120), (2.0, 2.0))  # a picture of 60 x 40 at twice its size


def decoded(boxes, valid, masks, threshold=0.5):
    count = len(boxes)
    rows = np.float32([[*box, 0.9 - 0.1 * index] for index, box in enumerate(boxes)])
    return decode(rows, np.arange(count, dtype=np.int32)[:, None], np.array(valid)[:, None], np.float32(masks),
                  PLACEMENT, threshold)


def test_a_mask_fills_the_pixels_of_its_box():
    """Canvas 20 to 59 is pixels 10 to 29 of the picture, the last one included."""
    found = decoded([[20, 10, 58, 38]], [True], np.ones((1, 28, 28)))

    assert found.boxes.tolist() == [[10, 5, 30, 20]]
    want = np.zeros((40, 60), np.uint8)
    want[5:20, 10:30] = 1
    assert (coco_mask.decode(found.masks[0]) == want).all()


def test_masks_stay_with_their_boxes_when_rows_are_left_out():
    """The first row is padding, the second lies beyond the picture's right edge at 120."""
    masks = np.stack([np.full((28, 28), value) for value in (0.9, 0.9, 0.2, 0.9)])

    found = decoded([[0, 0, 9, 9], [130, 0, 150, 9], [0, 0, 9, 9], [0, 0, 19, 19]], [False, True, True, True], masks)

    assert found.labels.tolist() == [2, 3] and len(found.masks) == 2
    assert coco_mask.area(found.masks).tolist() == [0, 100]


def test_the_threshold_decides_what_belongs_to_the_object():
    masks = np.tile(np.linspace(0, 1, 28, dtype=np.float32), (1, 28, 1))

    areas = [coco_mask.area(decoded([[0, 0, 39, 39]], [True], masks, threshold).masks)[0]
             for threshold in (0.2, 0.5, 0.8)]

    assert areas[0] > areas[1] > areas[2] > 0 and areas[1] == 200
