"""Images with rare classes are drawn more often: the repeat factors of LVIS (Gupta et al. 2019, section 4)."""
from __future__ import annotations

from typing import Sequence

import numpy as np


def image_weights(labels: Sequence[np.ndarray], balance: float) -> np.ndarray:
    """(N,) float64: how often each image is drawn, compared with one of the commonest class, which has 1.

    labels: classes of the objects of each image. balance: exponent of the frequency of a class, the fraction of the
    images that show it; an image has the largest weight of its classes, (commonest / frequency) ** balance. Without an
    object it has 1.
    """
    shown = [np.unique(found) for found in labels]
    counts = np.bincount(np.concatenate([np.empty(0, int), *shown]).astype(int), minlength=1)
    weights = (counts.max(initial=1) / np.maximum(counts, 1)) ** balance
    return np.array([weights[found].max(initial=1.0) for found in shown])


def draw_balanced(order: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As many images as there are, each as often as its weight says, rounded up or down at random; (N,) shuffled.

    order: (N,) a permutation of the images. weights: (N,) of each image.
    """
    ends = np.cumsum(weights[order])
    points = (rng.random() + np.arange(len(order))) * (ends[-1] / len(order))
    return rng.permutation(order[np.minimum(np.searchsorted(ends, points, side="right"), len(order) - 1)])
