import numpy as np
from faster_rcnn_family import padded
from mindspore import Tensor

from src.faster_rcnn.sampling import ProposalSampler
from src.faster_rcnn.targets import BACKGROUND, UNDECIDED, AnchorSampler

# In a canvas of 40 x 60: three anchors of 10 x 10 pixels side by side, one far away, one that sticks out.
ANCHORS = np.array([[0, 0, 9, 9], [5, 0, 14, 9], [10, 0, 19, 9], [40, 20, 49, 29], [55, 0, 64, 9]], np.float32)


def sampler(samples=4, positives=2):
    return AnchorSampler([ANCHORS[:3], ANCHORS[3:]], (40, 60), positive_iou=0.7, negative_iou=0.3,
                         min_positive_iou=0.3, samples=samples, positives=positives)


def test_anchors_by_their_overlap():
    owner = sampler().assign(np.array([[0, 0, 9, 9]], np.float32))
    # The second overlaps by 50 / 150, which is neither; the one that sticks out is not considered.
    assert owner.tolist() == [0, UNDECIDED, BACKGROUND, BACKGROUND]


def test_the_best_anchor_of_an_object_belongs_to_it():
    # 6 x 9 pixels inside the second: 54 / 100, below 0.7, yet no anchor has more.
    owner = sampler().assign(np.array([[7, 0, 12, 8]], np.float32))
    assert owner.tolist() == [BACKGROUND, 0, BACKGROUND, BACKGROUND]


def test_without_objects_all_is_background():
    sample = sampler()(np.zeros((0, 4), np.float32), np.random.default_rng(0))
    assert sorted(sample["anchor_index"].tolist()) == [0, 1, 2, 3]
    assert sample["anchor_labels"].tolist() == [0, 0, 0, 0] and not sample["anchor_boxes"].any()


def test_a_sample_holds_positives_first_then_negatives_then_padding():
    box = np.array([[0, 0, 9, 9]], np.float32)
    sample = sampler(samples=6)(box, np.random.default_rng(0))
    assert sample["anchor_labels"].tolist() == [1, 0, 0, -1, -1, -1]
    assert sample["anchor_index"][0] == 0 and sorted(sample["anchor_index"][1:3].tolist()) == [2, 3]
    np.testing.assert_array_equal(sample["anchor_boxes"][0], box[0])


def test_what_is_drawn_depends_on_the_generator_alone():
    boxes = np.array([[0, 0, 9, 9]], np.float32)
    drawn = [sampler(samples=2, positives=1)(boxes, np.random.default_rng(seed))["anchor_index"].tolist()
             for seed in (1, 1, *range(2, 12))]
    assert drawn[0] == drawn[1] and len(set(map(tuple, drawn))) == 2


def proposals_of(priority, positives=2, samples=4):
    """Two objects; RoIs on the first, half on it, and two on nothing."""
    rois = np.array([[[0, 0, 9, 9], [0, 0, 9, 14], [30, 30, 39, 39], [0, 30, 9, 39]]], np.float32)
    boxes, labels = padded(np.array([[0, 0, 9, 9], [20, 0, 29, 9]], np.float32), np.array([3, 7]), rows=3)
    valid = Tensor(np.array([[True, True, True, False]]))
    draw = ProposalSampler(positive_iou=0.5, negative_iou=0.5, samples=samples, positives=positives)
    return [output.asnumpy()[0] for output in draw(Tensor(rois), valid, boxes, labels, Tensor(np.float32([priority])))]


def test_proposals_and_objects_are_drawn_by_priority():
    # In line: object 3, object 7, padding, then the RoIs; positive are both objects, and the RoIs 0 and 1.
    rois, labels, taken, owner = proposals_of([0.1, 0.9, 1, 0.2, 0.8, 0.3, 1])
    assert labels.tolist() == [7, 3, 0, 0] and owner[:2].tolist() == [1, 0]
    assert taken.tolist() == [True, True, True, False]
    np.testing.assert_array_equal(rois[:3], [[20, 0, 29, 9], [0, 0, 9, 14], [30, 30, 39, 39]])


def test_padding_and_dropped_proposals_are_never_drawn():
    _, labels, taken, _ = proposals_of([0.5] * 7, positives=4, samples=7)
    assert taken.sum() == 5 and sorted(labels[taken].tolist()) == [0, 3, 3, 3, 7]


def test_a_picture_without_objects_gives_background_only():
    draw = ProposalSampler(positive_iou=0.5, negative_iou=0.5, samples=3, positives=1)
    rois = Tensor(np.array([[[0, 0, 9, 9], [5, 5, 9, 9]]], np.float32))
    boxes, labels = padded(np.zeros((0, 4)), np.zeros(0), rows=2)
    _, labels, taken, _ = draw(rois, Tensor(np.ones((1, 2), bool)), boxes, labels, Tensor(np.full((1, 4), 0.5, "f4")))
    assert labels.asnumpy().tolist() == [[0, 0, 0]] and taken.asnumpy().tolist() == [[True, True, False]]
