"""The ImageNet weights that a backbone starts from."""
from __future__ import annotations

from pathlib import Path

from src.checkpoint import load_weights, read_weights
from src.conditions import check_conditions
from src.errors import UsageError


def require_backbone_file(config) -> None:
    """Raises UsageError when a training that starts afresh names a feature_extractor_base_param that is not there."""
    path = config.model.feature_extractor_base_param
    afresh = not config.train.pre_trained and not config.runtime.resume
    if path and afresh and not Path(path).is_file():
        raise UsageError(f"feature_extractor_base_param {path}, the ImageNet checkpoint that {config.model.model_name} "
                         "starts from, does not exist; give its path, or train without one: "
                         "--feature_extractor_base_param none")


def load_backbone(network, detector, path: str) -> None:
    """Put the ImageNet checkpoint at `path` into the backbone.

    Raises CheckpointError when names or shapes do not fit, or when the settings differ from those that converted
    weights were trained with.

    Layers that an ImageNet network does not have keep their initial values, and its classifier is left out.
    """
    weights = read_weights(path)
    check_conditions(weights, network, detector)
    load_weights(network, weights, detector.from_imagenet, may_be_missing=detector.not_from_imagenet,
                 only=("backbone.",),
                 advice="feature_extractor_base_param takes an ImageNet checkpoint of the model's own backbone; give "
                        "one, or train without: --feature_extractor_base_param none")
