"""Settings that --auto True computes from the training data: priors, length of the run, and what follows from both."""
from __future__ import annotations

import math
from typing import Any, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from src.evaluation.advice import MANY_SMALL, Advice, ImageBoxes, advise_for
from src.models import build_detector

SOURCE = "the training data"
MOST_IMAGES = 2000  # that are looked at
LEAST_EPOCHS, MOST_EPOCHS = 12, 300
AVERAGED = 0.1      # fraction of a run over which weights are averaged
EVALUATIONS = 8     # of the validation split in a run


class Computed(NamedTuple):
    """A setting, its value, and a phrase that says where the value comes from."""

    key: str
    value: Any
    reason: str


class Automatic(NamedTuple):
    """config: with the computed settings. lines: what was computed and why, and what was kept and why."""

    config: Any
    lines: list[str]

    def text(self) -> str:
        """For the terminal."""
        return "\n".join(["settings computed from the training data (--auto False turns this off):",
                          *(f"  {line}" for line in self.lines)])


class Training(NamedTuple):
    """What settings are computed from. images: a sample of those that are trained on, without crowds. total: number of
    all of them. ranks: processes of the job."""

    images: Sequence[ImageBoxes]
    total: int
    classes: Sequence[str]
    ranks: int = 1

    def steps_per_epoch(self, config: Any) -> int:
        """As the training loader counts them."""
        return max(1, self.total // (config.train.batch_size * self.ranks))


def with_automatic_settings(config: Any, training: Training) -> Automatic:
    """The configuration with settings that fit the training images; what the user gave as a flag is kept.

    The same images give the same settings, in whatever order they come.
    """
    lines: list[str] = []
    for computed in (_priors, _length, _schedule, _augmentation):
        present, changed = config.values(), {}
        for key, value, reason in computed(config, training, lines):
            if config.fixed_by_user(key):
                lines.append(f"{key} {_shown(present[key])} is kept, {config.source_of(key)} gives it")
            elif value != present[key]:
                changed[key] = value
                lines.append(f"{key} {_shown(present[key])} -> {_shown(value)}: {reason}")
        config = config.replaced_by(SOURCE, changed)
    return Automatic(config, lines or ["nothing to change: the present settings fit"])


def _priors(config: Any, training: Training, lines: list[str]) -> Iterator[Computed]:
    """What the audit advises, except for a larger input, which takes longer."""
    if config.train.pre_trained:
        lines.append("priors are kept, the weights of pre_trained belong to them")
        return
    larger = build_detector(config, training.classes).larger_input()
    kept = [key for key in config.values() if config.fixed_by_user(key)]
    advice = advise_for(config, training.images, training.classes, fixed=[*larger, *kept])
    if advice is None:
        return
    if advice.before.small > MANY_SMALL:
        flags = " ".join(f"--{key} {_shown(value)}" for key, value in larger.items())
        lines.append(f"{advice.before.small:.0%} of the objects are smaller than a cell; a larger input, which takes "
                     f"longer, would find more of them: {flags}")
    for key, value in advice.settings.items():
        yield Computed(key, value, _gain(advice, key))


def _gain(advice: Advice, key: str) -> str:
    if advice.limit is not None and advice.above and isinstance(advice.settings[key], int):
        return f"{advice.above:.1%} of the images have more than {advice.limit} objects"
    return (f"priors per object {advice.before.mean:.1f} -> {advice.after.mean:.1f}, objects with fewer than "
            f"{advice.before.enough} {advice.before.few:.1%} -> {advice.after.few:.1%}")


def _length(config: Any, training: Training, _lines: list[str]) -> Iterator[Computed]:
    """Epochs for the least number of steps that a training from scratch needs."""
    steps, least = training.steps_per_epoch(config), build_detector(config, training.classes).least_steps
    epochs = min(max(math.ceil(least / steps), LEAST_EPOCHS), MOST_EPOCHS)
    yield Computed("epoch_size", epochs, f"{epochs * steps} steps, {steps} per epoch of {training.total} images")


def _schedule(config: Any, training: Training, _lines: list[str]) -> Iterator[Computed]:
    """What is a fraction of the run: warm-up, steps of the learning rate, averaging, evaluations."""
    epochs, steps = config.train.epoch_size, training.steps_per_epoch(config)
    for key, value in config.optimizer.schedule_for(epochs, steps).items():
        yield Computed(key, value, f"in proportion to {epochs} epochs of {steps} steps")
    if config.train.ema_decay:
        updates = max(epochs * steps // config.train.accumulation_steps, 1)
        decay = round(min(max(1 - 1 / (AVERAGED * updates), 0.9), 0.9998), 4)
        yield Computed("ema_decay", decay, f"averages over a tenth of {updates} updates")
    interval = max(1, round(epochs / EVALUATIONS))
    for key in ("eval_start_epoch", "eval_interval"):
        yield Computed(key, interval, f"about {EVALUATIONS} evaluations in {epochs} epochs")


def _augmentation(config: Any, training: Training, _lines: list[str]) -> Iterator[Computed]:
    images = training.images
    labels = np.concatenate([image.labels for image in images])
    sides = np.concatenate([np.sqrt(np.prod(image.boxes[:, 2:] - image.boxes[:, :2], axis=1)
                                    / (image.height * image.width)) for image in images])
    if len(sides):
        smallest = min(float(np.median(sides[labels == label])) for label in np.unique(labels))
        for key, value in build_detector(config, training.classes).augmentation_for(smallest).items():
            yield Computed(key, value, f"a typical object of the smallest class has {smallest:.2f} of the image's side")


def _shown(value: Any) -> str:
    return "none" if value is None else str(value).replace(" ", "")


def sampled(count: int) -> np.ndarray:
    """Indices of at most MOST_IMAGES rows, spread over all; reading every row of COCO would take minutes."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).round().astype(int))


def objects_of(rows: Iterable[dict]) -> list[ImageBoxes]:
    """The objects of MindRecord rows with boxes, labels, crowd, height and width."""
    return [ImageBoxes(row["boxes"][~row["crowd"]], row["height"], row["width"], row["labels"][~row["crowd"]])
            for row in rows]
