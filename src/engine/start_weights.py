"""The weights that a training starts from: a checkpoint of a detector, or of a backbone."""
from __future__ import annotations

import os
from typing import Optional, Sequence

from src.checkpoint import Weights, is_optimizer_state, load_weights, read_weights
from src.conditions import (
    OF_THE_BACKBONE,
    as_flag,
    check_conditions,
    conditions_of,
    differences,
    with_zoo_settings,
)
from src.errors import UsageError
from src.models import detector_class
from src.printable import counted

LISTED_LAYERS = 12
BACKBONE = "backbone."  # beginning of the names of its parameters
ADVICE = ("feature_extractor_base_param takes an ImageNet checkpoint of the model's own backbone; give one, or train "
          "without: --feature_extractor_base_param none")


def require_start_files(config) -> None:
    """Raises UsageError if a new training names a file to start from that does not exist."""
    if config.runtime.resume:
        return
    path = config.train.pre_trained
    if path:
        if not os.path.isfile(path):
            raise UsageError(f"pre_trained {path}, the checkpoint to start from, "
                             f"{'is a folder' if os.path.isdir(path) else 'does not exist'}; give the path of a .ckpt "
                             "file, or train without one: --pre_trained none")
        return
    path = config.model.feature_extractor_base_param
    if path and not os.path.isfile(path):
        raise UsageError(f"feature_extractor_base_param {path}, the ImageNet checkpoint that {config.model.model_name} "
                         "starts from, does not exist; give its path, or train without one: "
                         "--feature_extractor_base_param none")


class Start:
    """The file that a training starts from, which is read once.

    weights: of `pre_trained`, else of `feature_extractor_base_param`; None where neither is given, and after `take`.
    """

    def __init__(self, config) -> None:
        path = config.train.pre_trained or config.model.feature_extractor_base_param
        self.weights: Optional[Weights] = read_weights(path) if path else None

    def take(self) -> Optional[Weights]:
        """The weights, which are not kept here any longer: a training needs the memory."""
        weights, self.weights = self.weights, None
        return weights


def with_settings_of_start(config, start: Start):
    """The configuration with the settings that `pre_trained` needs, where it is a checkpoint of the old zoo."""
    if not config.train.pre_trained or start.weights is None:
        return config
    return with_zoo_settings(config, start.weights, detector_class(config))


def with_settings_of_run(config, earlier):
    """The configuration with the settings that the checkpoint at the start of a run decided, for resuming the run.

    earlier: the configuration of the run. Settings given by flags stay as they are.
    """
    if not config.train.pre_trained:
        return config
    given, before = config.values(), earlier.values()
    changed = {key: before[key] for key in detector_class(config).decided_by_zoo
               if before.get(key) != given[key] and not config.source_of(key).startswith("flag ")}
    if not changed:
        return config
    listed = ", ".join(f"{key} {as_flag(value)}" for key, value in changed.items())
    print(f"the run began with a checkpoint of the old zoo, and goes on as it began: {listed}")
    return config.replace(**changed)


def load_start(network, detector, config, start: Start) -> None:
    """Put the weights that a training starts from into the network, and print which.

    `pre_trained` may hold a detector or a backbone, and wins over `feature_extractor_base_param`.
    Raises CheckpointError if names or shapes do not fit, or if converted weights need other settings.
    """
    from src.ops.norms import has_folded_norms

    weights = start.take()
    if weights is None:
        return
    path = weights.path
    only_backbone = holds_backbone(weights, network, detector)
    if only_backbone or not config.train.pre_trained:
        load_backbone(network, detector, weights)
        print(f"training starts from the backbone in {path}"
              + ("" if only_backbone else "; --pre_trained would take the whole detector"))
    else:
        kept = load_detector(network, detector, weights, config.train.filter_weight)
        print(f"training starts from the detector in {path}" + (f"; {initialised(kept)}" if kept else ""))
    if not config.train.fixed_norms and has_folded_norms(network):
        raise UsageError(f"{path}: the batch norms of these weights were folded into the convolutions, so that the "
                         "statistics of a batch would change every map; add --fixed_norms True")


def initialised(names: Sequence[str]) -> str:
    """A sentence that lists the layers of parameters that were not loaded."""
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    listed = ", ".join(layers[:LISTED_LAYERS]) + (f" and {counted(len(layers) - LISTED_LAYERS, 'further layer')}"
                                                 if len(layers) > LISTED_LAYERS else "")
    return f"randomly initialised (checkpoint_filter_list): {counted(len(names), 'parameter')}, of {listed}"


def holds_backbone(weights: Weights, network, detector) -> bool:
    """Whether a file holds parameters of the network's backbone, under any of the names they have, and no others."""
    parameters = {parameter.name for parameter in network.get_parameters()}
    names = [name for name in weights.arrays if not is_optimizer_state(name)]
    found = {ours for name in names for ours in (name, detector.from_zoo(name)) if ours in parameters}
    if any(not name.startswith(BACKBONE) for name in found):
        return False
    return bool(found) or any(detector.from_imagenet(name) in parameters for name in names)


def load_backbone(network, detector, weights: Weights) -> None:
    """Put the backbone of an ImageNet checkpoint, or of a detector, into the network's.

    Layers that an ImageNet network does not have keep their initial values; its classifier is not loaded.
    """
    check_conditions(weights, network, detector, OF_THE_BACKBONE)
    load_weights(network, weights, lambda name: detector.from_imagenet(name) or detector.from_zoo(name),
                 may_be_missing=detector.not_from_imagenet, only=(BACKBONE,), advice=ADVICE)


def load_detector(network, detector, weights: Weights, filtered: bool) -> list:
    """Put the weights of a detector into the network; returns the names of those that keep their initial values.

    filtered: whether the parameters of checkpoint_filter_list are left out, for other classes.
    """
    left_out = detector.filtered_parameters() if filtered else ()
    if weights.classes is not None and not left_out and weights.classes != detector.classes:
        raise UsageError(f"{weights.path} was trained on {counted(len(weights.classes), 'class')} "
                         f"({', '.join(weights.classes[:5])}, ...), the data has {len(detector.classes)} "
                         f"({', '.join(detector.classes[:5])}, ...); for transfer training add --filter_weight True")
    check_conditions(weights, network, detector, OF_THE_BACKBONE)
    changed = differences(weights.conditions, conditions_of(detector, network))
    if changed:
        listed = ", ".join(f"{key} {as_flag(was)} -> {as_flag(now)}" for key, (was, now) in changed.items())
        print(f"{weights.path} was made with other settings, to which this training has to adapt: {listed}")
    return load_weights(network, weights, detector.from_zoo, may_be_missing=left_out, advice=detector.fit_advice)
