import numpy as np
import pytest
from mindspore import Tensor

from src.ops.losses import sigmoid_focal_loss, smooth_l1_loss


def focal_in_float64(logits, targets, alpha, gamma):
    """Equation 5 of the paper, written with log sigmoid so that float64 does not overflow."""
    logits = logits.astype(np.float64)
    log_p, log_not_p = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    positive = -alpha * np.exp(log_not_p) ** gamma * log_p
    negative = -(1 - alpha) * np.exp(log_p) ** gamma * log_not_p
    return np.where(targets == 1, positive, negative)


def focal(logits, targets, alpha, gamma):
    return sigmoid_focal_loss(Tensor(logits), Tensor(targets), alpha, gamma).asnumpy()


def test_focal_loss_of_an_undecided_output():
    # p = 0.5: alpha 0.5^2 log 2
    loss = focal(np.zeros(2, np.float32), np.array([1, 0], np.float32), alpha=0.75, gamma=2)
    np.testing.assert_allclose(loss, [0.75 * 0.25 * np.log(2), 0.25 * 0.25 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("gamma", [2, 2.0, 1.5, 0])
def test_focal_loss_equals_the_formula(gamma):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 5, 1000).astype(np.float32)
    targets = rng.integers(0, 2, 1000).astype(np.float32)
    want = focal_in_float64(logits, targets, 0.25, gamma)
    np.testing.assert_allclose(focal(logits, targets, 0.25, gamma), want, rtol=1e-4, atol=1e-7)


def test_focal_loss_of_large_logits_is_finite_and_linear():
    logits = np.array([1e4, -1e4, 1e4, -1e4, 80], np.float32)
    targets = np.array([1, 1, 0, 0, 0], np.float32)
    # Certain and right costs nothing; certain and wrong costs the logit.
    np.testing.assert_allclose(focal(logits, targets, 0.75, 2), [0, 7500, 2500, 0, 20], rtol=1e-6)


def test_smooth_l1_on_both_sides_of_the_corner_and_on_it():
    distances = np.array([0, 0.5, 1, -1, 2, -3], np.float32)
    loss = smooth_l1_loss(Tensor(distances), Tensor(np.zeros(6, np.float32))).asnumpy()
    np.testing.assert_allclose(loss, [0, 0.125, 0.5, 0.5, 1.5, 2.5])


def test_smooth_l1_has_no_step_at_a_corner_elsewhere():
    distances = np.array([0.1 - 1e-6, 0.1, 0.1 + 1e-6], np.float32)
    loss = smooth_l1_loss(Tensor(distances), Tensor(np.zeros(3, np.float32)), beta=0.1).asnumpy()
    # 0.5 d^2 / beta and d - beta / 2 both give 0.05 there, with slope 1.
    np.testing.assert_allclose(loss, [0.05 - 1e-6, 0.05, 0.05 + 1e-6], atol=1e-8)
