"""Which prior boxes a configuration asks for."""
from __future__ import annotations

import math
from dataclasses import dataclass

from src.errors import ConfigError
from src.ops.anchors import PriorBoxes, octave_prior_boxes, ssd_prior_boxes


@dataclass(frozen=True)
class Maps:
    """How the sides of a model's maps shrink: the first lies at `first_stride`, every further one is half of the one
    before it, rounded up, and from level `unpadded_from` on two cells smaller (3x3 convolutions without padding)."""

    first_stride: int
    unpadded_from: int | None = None


MAPS = {
    "ssd300": Maps(first_stride=16),
    "ssd_mobilenet_v1": Maps(first_stride=16),
    "ssd_mobilenet_v1_fpn": Maps(first_stride=8),
    "ssd_resnet50_fpn": Maps(first_stride=8),
    "ssd_vgg16": Maps(first_stride=8, unpadded_from=4),
}
LARGEST_STRIDE = 64  # where the zoo stops counting a cell as a power of two pixels


def feature_sizes(maps: Maps, image_size, levels: int) -> list:
    """(rows, columns) of each map."""
    sizes = [tuple(math.ceil(side / maps.first_stride) for side in image_size)]
    while len(sizes) < levels:
        padded = maps.unpadded_from is None or len(sizes) < maps.unpadded_from
        sizes.append(tuple(math.ceil(side / 2) if padded else side - 2 for side in sizes[-1]))
        if min(sizes[-1]) < 1:
            raise ConfigError(f"img_shape {list(image_size)} is too small: of {levels} maps only {len(sizes) - 1} are "
                              "left; make it larger")
    return sizes


def default_steps(first_stride: int, image_size, sizes, strides_only: bool) -> list:
    """Pixels per cell: the stride; above LARGEST_STRIDE, unless `strides_only`, what divides the picture evenly."""
    strides = [first_stride * 2 ** level for level in range(len(sizes))]
    return [(stride, stride) if strides_only or stride <= LARGEST_STRIDE
            else tuple(side / cells for side, cells in zip(image_size, size)) for stride, size in zip(strides, sizes)]


def prior_boxes(model) -> PriorBoxes:
    """The prior boxes of the `model` section; raises ConfigError where num_default contradicts them."""
    maps = MAPS[model.model_name]
    sizes = feature_sizes(maps, model.img_shape, len(model.num_default))
    given = model.steps and [(step, step) for step in model.steps]
    steps = given or default_steps(maps.first_stride, model.img_shape, sizes, model.use_anchor_generator)
    if model.use_anchor_generator:
        source, priors = "use_anchor_generator", octave_prior_boxes(model.img_shape, sizes, steps)
    else:
        source = f"aspect_ratios {model.aspect_ratios}"
        priors = ssd_prior_boxes(model.img_shape, sizes, steps, model.min_scale, model.max_scale, model.aspect_ratios,
                                 model.default_box_scales)
    per_level = [boxes * rows * columns for boxes, (rows, columns) in zip(model.num_default, sizes)]
    if sum(per_level) != len(priors.centers):
        raise ConfigError(f"num_default {model.num_default} does not agree with {source}: "
                          f"{sum(per_level)} predictions for {len(priors.centers)} prior boxes")
    return priors
