import numpy as np
import pytest

from src.ops.detections import Detections


def detections(boxes=(2, 4), scores=(2,), labels=(2,), masks=None):
    return Detections(np.zeros(boxes, np.float32), np.zeros(scores, np.float32), np.zeros(labels, np.int32), masks)


def test_length_is_the_number_of_boxes():
    assert len(detections()) == 2
    assert len(detections(boxes=(0, 4), scores=(0,), labels=(0,))) == 0
    assert len(detections(masks=[{}, {}])) == 2


@pytest.mark.parametrize("shapes", [dict(boxes=(3, 4)), dict(boxes=(2, 5)), dict(boxes=(8,)), dict(labels=(1,)),
                                    dict(labels=(2, 1)), dict(scores=(2, 1)), dict(scores=(3,))])
def test_fields_that_disagree_are_refused_with_their_shapes(shapes):
    with pytest.raises(ValueError, match="do not describe the same number") as error:
        detections(**shapes)
    assert all(str(shape) in str(error.value) for shape in shapes.values())


def test_a_mask_too_few_is_refused():
    with pytest.raises(ValueError, match="1 masks for 2 boxes"):
        detections(masks=[{}])
