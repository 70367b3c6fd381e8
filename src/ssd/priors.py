"""Which prior boxes a configuration asks for."""
from __future__ import annotations

import math

import numpy as np

from src.errors import ConfigError
from src.ops.anchors import ssd_prior_boxes

FIRST_STRIDE = 16


def feature_sizes(image_size, levels: int) -> list:
    """(rows, columns) of each map: the first at stride 16, every further one half of it, rounded up."""
    sizes = [tuple(math.ceil(side / FIRST_STRIDE) for side in image_size)]
    while len(sizes) < levels:
        sizes.append(tuple(math.ceil(side / 2) for side in sizes[-1]))
    return sizes


def default_steps(image_size, sizes) -> list:
    """Pixels per cell: the stride for the first three maps, then what divides the picture evenly (the zoo's rule)."""
    strides = [FIRST_STRIDE * 2 ** level for level in range(len(sizes))]
    return [(stride, stride) if level < 3 else tuple(side / cells for side, cells in zip(image_size, size))
            for level, (stride, size) in enumerate(zip(strides, sizes))]


def prior_boxes(model) -> np.ndarray:
    """(N, 4) cy, cx, h, w of the `model` section; raises ConfigError where an expected number does not come out."""
    sizes = feature_sizes(model.img_shape, len(model.num_default))
    if model.feature_size is not None and [max(size) for size in sizes] != model.feature_size:
        raise ConfigError(f"feature_size is {model.feature_size}, but img_shape {model.img_shape} gives "
                          f"{[max(size) for size in sizes]}; correct it or leave feature_size out")
    given = model.steps and [(step, step) for step in model.steps]
    steps = given or default_steps(model.img_shape, sizes)
    priors = ssd_prior_boxes(model.img_shape, sizes, steps, model.min_scale, model.max_scale, model.aspect_ratios)
    per_level = [boxes * rows * columns for boxes, (rows, columns) in zip(model.num_default, sizes)]
    if sum(per_level) != len(priors):
        raise ConfigError(f"num_default {model.num_default} does not agree with aspect_ratios {model.aspect_ratios}: "
                          f"{sum(per_level)} predictions for {len(priors)} prior boxes")
    if model.num_ssd_boxes is not None and model.num_ssd_boxes != len(priors):
        raise ConfigError(f"num_ssd_boxes is {model.num_ssd_boxes}, but img_shape {model.img_shape} gives "
                          f"{len(priors)} prior boxes; correct it or leave num_ssd_boxes out")
    return priors
