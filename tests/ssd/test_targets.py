import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mindspore import Tensor, nn

from src.ops.anchors import PriorBoxes, ssd_prior_boxes
from src.ops.boxes import box_iou, corners_from_centers
from src.ssd.network import SSDInference
from src.ssd.targets import TargetEncoder

SCALING = (0.1, 0.2)
# 4 x 4 cells with four boxes each and one cell with four: 68 priors.
PRIORS = ssd_prior_boxes((100, 100), [(4, 4), (1, 1)], [(25, 25), (100, 100)], 0.25, 0.8, [[2], [2]])
ENCODER = TargetEncoder(PRIORS, 0.5, SCALING)


def truths():
    """(G, 4) corner boxes inside the picture, between a twentieth and the whole of it wide and high."""
    box = st.tuples(*[st.integers(0, 100)] * 2, *[st.integers(5, 100)] * 2)

    def inside(rows):
        y, x, height, width = np.array(rows, np.float32).T / 100
        top, left = y * (1 - height), x * (1 - width)
        return np.stack([top, left, top + height, left + width], axis=1)

    return st.lists(box, min_size=1, max_size=6).map(inside)


class Returns(nn.Cell):
    """A network that answers with given deltas."""

    def __init__(self, deltas):
        super().__init__()
        self.answer = Tensor(deltas[None]), Tensor(np.zeros((1, len(deltas), 2), np.float32))

    def construct(self, _images):
        return self.answer


def decoded(deltas):
    """What the network in inference makes of these deltas: corner boxes."""
    boxes, _ = SSDInference(Returns(deltas), PRIORS.centers, SCALING)(Tensor(np.zeros((1, 3, 100, 100), np.float32)))
    return boxes.asnumpy()[0]


@given(truths())
@settings(max_examples=50, deadline=None)
def test_decoding_what_was_encoded_gives_the_boxes_back(boxes):
    labels = np.arange(len(boxes))
    deltas, classes = ENCODER(boxes, labels)
    positive = np.flatnonzero(classes)
    np.testing.assert_allclose(decoded(deltas)[positive], boxes[classes[positive] - 1], atol=1e-5)


def test_deltas_worked_out_by_hand():
    # A prior of 0.4 x 0.2 at (0.5, 0.5); the box lies 0.02 lower, 0.01 left, and is twice as high.
    prior = np.array([[0.5, 0.5, 0.4, 0.2]], np.float32)
    encoder = TargetEncoder(PriorBoxes(prior, corners_from_centers(prior)), 0.5, SCALING)
    deltas, classes = encoder(np.array([[0.12, 0.39, 0.92, 0.59]], np.float32), np.array([6]))
    np.testing.assert_allclose(deltas, [[0.02 / 0.4 / 0.1, -0.01 / 0.2 / 0.1, np.log(2) / 0.2, 0]], atol=1e-5)
    assert classes.tolist() == [7] and classes.dtype == np.int32 and deltas.dtype == np.float32


@given(truths())
@settings(max_examples=100, deadline=None)
def test_the_best_prior_of_every_truth_goes_to_the_first_that_wants_it(boxes):
    _, classes = ENCODER(boxes, np.arange(len(boxes)))
    wanted = box_iou(boxes, PRIORS.corners).argmax(axis=1)
    owners = {}
    for index, prior in enumerate(wanted):
        owners.setdefault(prior, index)
    assert {prior: classes[prior] - 1 for prior in owners} == owners


@given(truths())
@settings(max_examples=100, deadline=None)
def test_other_priors_go_to_the_truth_they_overlap_most_if_by_more_than_half(boxes):
    overlaps = box_iou(boxes, PRIORS.corners)
    _, classes = ENCODER(boxes, np.arange(len(boxes)))
    free = np.setdiff1d(np.arange(len(PRIORS.corners)), overlaps.argmax(axis=1))
    want = np.where(overlaps.max(axis=0) > 0.5, overlaps.argmax(axis=0) + 1, 0)
    np.testing.assert_array_equal(classes[free], want[free])


def test_a_small_object_that_overlaps_no_prior_by_half_still_gets_one():
    _, classes = ENCODER(np.array([[0.1, 0.1, 0.15, 0.15]], np.float32), np.array([0]))
    assert classes.sum() == 1


def test_two_equal_objects_share_the_priors_of_the_first():
    box = np.array([[0.1, 0.1, 0.15, 0.15]], np.float32)
    _, classes = ENCODER(np.concatenate([box, box]), np.array([3, 8]))
    assert set(classes) == {0, 4}


@pytest.mark.parametrize("labels", [np.zeros(0, np.int32), np.zeros(0, np.int64)])
def test_no_ground_truth_is_all_background(labels):
    deltas, classes = ENCODER(np.zeros((0, 4), np.float32), labels)
    assert deltas.shape == (68, 4) and classes.shape == (68,)
    assert not deltas.any() and not classes.any()


def test_a_box_without_area_gives_finite_deltas():
    deltas, classes = ENCODER(np.array([[0.3, 0.3, 0.3, 0.3]], np.float32), np.array([0]))
    assert np.isfinite(deltas).all() and classes.sum() == 1
