import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

from src.mask_rcnn.loss import MaskRCNNLoss

SIDE, SLOTS = 4, 8  # two of the eight are a quarter


class LinearMasks(nn.Cell):
    """Instead of a network: logits that grow with the RoI's left edge, everywhere the same."""

    def __init__(self):
        super().__init__()
        self.slope = Parameter(Tensor(0.02, ms.float32))
        self.rpn = None  # is not run here

    def masks(self, _levels, rois, _labels):
        return (rois[:, :, 0] * self.slope)[:, :, None, None].broadcast_to((*rois.shape[:2], SIDE, SIDE))


def loss_and_slope(counts: list) -> tuple:
    """The loss and its gradient in a compiled graph, of pictures with so many positive RoIs."""
    loss = MaskRCNNLoss(LinearMasks(), None, None, np.zeros((1, 4), np.float32), (), (), positives=SLOTS)
    labels = np.arange(SLOTS) < np.array(counts)[:, None]
    rois = np.tile(np.float32([8, 0, 15, 7]), (len(counts), SLOTS, 1)) + np.arange(SLOTS)[:, None]
    bitmaps = np.zeros((len(counts), 1, 16, 24), np.uint8)
    bitmaps[:, :, :, 12:] = 1
    arguments = [Tensor(array) for array in (rois.astype(np.float32), labels.astype(np.int32),
                                             np.zeros((len(counts), SLOTS), np.int32), np.packbits(bitmaps, axis=-1))]

    @ms.jit
    def step(*arguments):
        return ms.value_and_grad(loss.mask_loss, None, loss.network.slope)((), *arguments)

    value, gradient = step(*arguments)
    return float(value.asnumpy()), float(gradient.asnumpy())


def by_hand(counts: list) -> tuple:
    lefts = np.concatenate([8 + np.arange(count) for count in counts]).astype(float)
    columns = lefts[:, None] + np.arange(SIDE) * 2 + 0.5   # the middle of each of the four cells of eight pixels
    targets, logits = (np.round((columns - 11).clip(0, 1))), 0.02 * lefts[:, None]
    losses = np.log1p(np.exp(logits)) - logits * targets
    slopes = (1 / (1 + np.exp(-logits)) - targets) * lefts[:, None]
    return losses.mean(), slopes.mean()


@pytest.mark.parametrize("counts", [[2, 1], [3, 1], [0, 8]], ids=["few", "one more than few", "all there can be"])
def test_loss_is_the_mean_over_positive_rois_however_many_are_computed(counts):
    assert loss_and_slope(counts) == pytest.approx(by_hand(counts), rel=1e-5)


def test_without_positive_rois_nothing_is_learned():
    assert loss_and_slope([0, 0]) == (0, 0)
