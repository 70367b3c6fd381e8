import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from src.ssd.loss import SSDLoss

ALPHA, GAMMA, CLASSES = 0.75, 2.0, 3


class Returns(nn.Cell):
    """A network that answers with given deltas and logits, as parameters so that they have gradients."""

    def __init__(self, deltas, logits):
        super().__init__()
        self.deltas, self.logits = ms.Parameter(Tensor(deltas)), ms.Parameter(Tensor(logits))

    def construct(self, _images):
        return self.deltas, self.logits


def losses(deltas, logits, true_deltas, classes, background_loss=True):
    """Total, classification and localisation loss of these outputs."""
    cell = SSDLoss(Returns(deltas, logits), CLASSES, ALPHA, GAMMA, background_loss)
    return [float(part) for part in cell(None, Tensor(true_deltas), Tensor(classes))]


def random_batch(priors=10, seed=0):
    rng = np.random.default_rng(seed)
    deltas, true_deltas = rng.standard_normal((2, 2, priors, 4)).astype(np.float32)
    logits = rng.standard_normal((2, priors, CLASSES + 1)).astype(np.float32)
    return deltas, logits, true_deltas, rng.integers(0, CLASSES + 1, (2, priors)).astype(np.int32)


def test_loss_of_two_priors_worked_out_by_hand():
    # Logits 0 mean p = 0.5: each of the 8 outputs costs 0.5^2 log 2, times alpha where the target is 1 (2 of them,
    # class 2 of the first prior and background of the second), times 1 - alpha elsewhere. One prior is matched;
    # its deltas are off by 2 and 0.5: 1.5 + 0.125. Those of the unmatched prior do not count.
    deltas = np.array([[[2, 0.5, 0, 0], [9, 9, 9, 9]]], np.float32)
    logits, true_deltas = np.zeros((1, 2, 4), np.float32), np.zeros((1, 2, 4), np.float32)
    total, cls_loss, loc_loss = losses(deltas, logits, true_deltas, np.array([[2, 0]], np.int32))
    assert cls_loss == pytest.approx((2 * 0.75 + 6 * 0.25) * 0.25 * np.log(2), rel=1e-6)
    assert loc_loss == pytest.approx(1.625, rel=1e-6)
    assert total == pytest.approx(cls_loss + loc_loss, rel=1e-6)


def test_both_parts_are_divided_by_the_matched_priors_of_the_batch():
    deltas, logits, true_deltas, classes = random_batch()
    once = losses(deltas, logits, true_deltas, classes)
    twice = losses(*(np.concatenate([array, array]) for array in (deltas, logits, true_deltas, classes)))
    assert twice == pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize("background_loss", [True, False])
def test_pictures_without_objects(background_loss):
    deltas, logits, true_deltas, _ = random_batch()
    total, cls_loss, loc_loss = losses(deltas, logits, true_deltas, np.zeros((2, 10), np.int32), background_loss)
    assert loc_loss == 0
    assert np.isfinite(total) and total == cls_loss > 0


def test_gradients_of_pictures_without_objects_are_finite():
    deltas, logits, true_deltas, _ = random_batch()
    network = Returns(deltas, logits * 100)
    cell = SSDLoss(network, CLASSES, ALPHA, GAMMA)
    call = ms.value_and_grad(lambda *targets: cell(None, *targets)[0], None, network.trainable_params())
    _, (of_deltas, of_logits) = call(Tensor(true_deltas), Tensor(np.zeros((2, 10), np.int32)))
    assert not of_deltas.asnumpy().any()
    assert np.isfinite(of_logits.asnumpy()).all() and of_logits.asnumpy().any()


def test_without_background_loss_column_0_does_not_matter():
    deltas, logits, true_deltas, classes = random_batch()
    other = logits.copy()
    other[:, :, 0] += 7
    assert losses(deltas, logits, true_deltas, classes, False) == losses(deltas, other, true_deltas, classes, False)
    assert losses(deltas, logits, true_deltas, classes) != losses(deltas, other, true_deltas, classes)


@pytest.mark.parametrize("background_loss", [True, False])
def test_the_order_of_the_priors_does_not_matter(background_loss):
    arrays = random_batch()
    order = np.random.default_rng(1).permutation(10)
    permuted = [array[:, order] for array in arrays]
    assert losses(*permuted, background_loss) == pytest.approx(losses(*arrays, background_loss), rel=1e-5)


def test_the_network_keeps_the_names_of_its_parameters():
    names = [parameter.name for parameter in SSDLoss(Returns(*random_batch()[:2]), CLASSES, ALPHA, GAMMA)
             .get_parameters()]
    assert sorted(names) == ["deltas", "logits"]
