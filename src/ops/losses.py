"""Element-wise losses without reduction; the detectors sum and normalise them."""
from __future__ import annotations

from mindspore import Tensor, ops


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of sigmoid outputs, max(x, 0) - x t + log(1 + exp(-|x|)), which does not overflow."""
    return ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss on sigmoid outputs (Lin et al. 2017, equation 5); logits and 0/1 targets of one shape."""
    probability = ops.sigmoid(logits)
    missed = targets * (1 - probability) + (1 - targets) * probability
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    focus = missed * missed if gamma == 2 else ops.pow(missed, gamma)
    return weight * focus * sigmoid_cross_entropy(logits, targets)


def smooth_l1_loss(predictions: Tensor, targets: Tensor, beta: float = 1.0) -> Tensor:
    """0.5 d^2 / beta below beta, |d| - beta / 2 above (Girshick 2015, equation 3)."""
    distance = ops.abs(predictions - targets)
    return ops.where(distance < beta, 0.5 / beta * distance * distance, distance - 0.5 * beta)
