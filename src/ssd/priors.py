"""The priors of a configuration."""
from __future__ import annotations

import math

from src.errors import ConfigError
from src.family import Stage
from src.ops.anchors import PriorBoxes, octave_prior_boxes, ssd_prior_boxes

LARGEST_STRIDE = 64  # above this stride the zoo does not use powers of two as cell sizes
PRIOR_SETTINGS = ("steps", "use_anchor_generator", "min_scale", "max_scale", "default_box_scales", "aspect_ratios")
# What the audit tries.
SCALES = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.14, 0.17, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
RATIOS = (3.0, 4.0, 5.0, 7.0)
LOW_THRESHOLD = 0.4
MANY_UNMATCHED = 0.1    # a lower threshold harms where the priors fit: docs/training.md


def feature_sizes(model) -> list:
    """(rows, columns) of each map of the `model` section; raises ConfigError where the image is too small."""
    own = model.backbone.strides[-model.variant.maps:]
    sizes = [tuple(math.ceil(side / stride) for side in model.input_size) for stride in own]
    for stride in model.extra_strides:
        unpadded = model.variant.unpadded_from is not None and len(sizes) >= model.variant.unpadded_from
        sizes.append(tuple(side - 2 if unpadded else math.ceil(side / stride) for side in sizes[-1]))
        if min(sizes[-1]) < 1:
            raise ConfigError(f"img_shape {model.img_shape} is too small: of {len(model.num_default)} maps only "
                              f"{len(sizes) - 1} are left; make it larger")
    return sizes


def default_steps(model, sizes) -> list:
    """Pixels per cell and level: the stride; above LARGEST_STRIDE, unless the boxes have octave scales, the quotient of
    the sides of input and map."""
    strides = list(model.backbone.strides[-model.variant.maps:])
    for stride in model.extra_strides:
        strides.append(strides[-1] * stride)
    return [(stride, stride) if model.use_anchor_generator or stride <= LARGEST_STRIDE
            else tuple(side / cells for side, cells in zip(model.input_size, size))
            for stride, size in zip(strides, sizes)]


def prior_settings(model) -> dict:
    """{name: value} of the PRIOR_SETTINGS that have an effect; steps are None where they are the default ones."""
    unused: tuple = ()
    if model.use_anchor_generator:
        unused = ("min_scale", "max_scale", "default_box_scales", "aspect_ratios")
    elif model.default_box_scales:
        unused = ("min_scale", "max_scale")
    settings = {name: getattr(model, name) for name in PRIOR_SETTINGS if name not in unused}
    defaults = default_steps(model, feature_sizes(model))
    if model.steps and all(math.isclose(step, side) for step, sides in zip(model.steps, defaults) for side in sides):
        settings["steps"] = None
    return settings


def prior_boxes(model) -> PriorBoxes:
    """The priors of the `model` section; raises ConfigError where num_default contradicts them."""
    sizes = feature_sizes(model)
    given = model.steps and [(step, step) for step in model.steps]
    steps = given or default_steps(model, sizes)
    if model.use_anchor_generator:
        source, priors = "use_anchor_generator", octave_prior_boxes(model.input_size, sizes, steps)
    else:
        source = f"aspect_ratios {model.aspect_ratios}"
        priors = ssd_prior_boxes(model.input_size, sizes, steps, model.min_scale, model.max_scale, model.aspect_ratios,
                                 model.default_box_scales)
    per_level = [boxes * rows * columns for boxes, (rows, columns) in zip(model.num_default, sizes)]
    if sum(per_level) != len(priors.centers):
        raise ConfigError(f"num_default {model.num_default} does not agree with {source}: "
                          f"{sum(per_level)} predictions for {len(priors.centers)} priors")
    return priors


def priors_to_try(model) -> list[Stage]:
    """Sides of the first level's priors, a further aspect ratio, and last a lower threshold."""
    fixed = model.use_anchor_generator or model.default_box_scales
    scales = [] if fixed else [scale for scale in SCALES if scale <= model.max_scale]
    ratios = [] if model.use_anchor_generator else [_with_ratio(model, ratio) for ratio in RATIOS]
    thresholds = [{"match_threshold": LOW_THRESHOLD}] if model.match_threshold > LOW_THRESHOLD else []
    return [Stage([{"min_scale": scale} for scale in scales]), Stage([option for option in ratios if option]),
            Stage([{**option, "min_scale": scale} for option in thresholds for scale in scales] or thresholds,
                  unmatched=MANY_UNMATCHED)]


def _with_ratio(model, ratio: float) -> dict:
    """The settings with one more aspect ratio on each level that has some; empty where a level has it already."""
    if any(ratio in ratios for ratios in model.aspect_ratios):
        return {}
    return {"aspect_ratios": [[*ratios, ratio] if ratios else [] for ratios in model.aspect_ratios],
            "num_default": [count + 2 * bool(ratios) for count, ratios in zip(model.num_default, model.aspect_ratios)]}
