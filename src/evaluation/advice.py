"""What a model's input, priors and limits mean for the boxes of a data set, and settings that match more of them."""
from __future__ import annotations

from typing import Any, Iterable, NamedTuple, Optional, Sequence

import numpy as np

from src.data.records import AnnotationSet
from src.errors import ConfigError
from src.models import build_detector
from src.printable import counted

SAMPLE_OBJECTS = 500    # on which priors are tried
LEAST_GAIN = 0.05       # of Fit.learnable: about 5 % more priors for every object
CLEAR_GAIN = 0.3        # the same, where hardly an object has too few
LEAST_FEWER = 0.02      # fraction of the objects with too few priors, or that a larger input helps
USEFUL = 4              # times the priors that an object should have: further ones teach nothing new
MANY_SMALL = 0.05       # fraction of the objects that are smaller than a cell
NAME_COLUMNS = 46


class ImageBoxes(NamedTuple):
    """The objects of one image. boxes: (G, 4) x1, y1, x2, y2 in pixels; labels: (G,)."""

    boxes: np.ndarray
    height: int
    width: int
    labels: np.ndarray


class Fit(NamedTuple):
    """Figures of one configuration.

    matched: (N,) priors of each object of the sample; None for a model without priors. labels: (N,) of these objects.
    shorter: (M,) shorter side of each object in pixels of the network input. stride: pixels per cell of the finest map.
    enough: priors that an object should have.
    """

    matched: Optional[np.ndarray]
    labels: np.ndarray
    shorter: np.ndarray
    stride: int
    enough: int

    @property
    def mean(self) -> float:
        """Priors per object."""
        return float(np.mean(self.matched)) if self.matched is not None else 0.0

    @property
    def few(self) -> float:
        """Fraction of the objects that are matched with too few priors."""
        return float(np.mean(self.matched < self.enough)) if self.matched is not None else 0.0

    @property
    def unmatched(self) -> float:
        """Fraction of the objects that are matched with no prior."""
        return float(np.mean(self.matched == 0)) if self.matched is not None else 0.0

    @property
    def learnable(self) -> float:
        """Mean of log(1 + priors) over the objects of a class, averaged over the classes, as AP is.

        The logarithm lets each further prior count for less, up to USEFUL times `enough`. The fraction of objects with
        too few priors would be a poor measure for the choice: it prefers smaller priors, with which most objects have
        fewer, and forgets a rare class.
        """
        if self.matched is None:
            return 0.0
        gains = np.log1p(np.minimum(self.matched, USEFUL * self.enough))
        return float(np.mean([gains[self.labels == label].mean() for label in np.unique(self.labels)]))

    @property
    def forgotten(self) -> float:
        """Fraction of the objects of a class that are matched with no prior, averaged over the classes."""
        if self.matched is None:
            return 0.0
        return float(np.mean([np.mean(self.matched[self.labels == label] == 0) for label in np.unique(self.labels)]))

    @property
    def small(self) -> float:
        """Fraction of the objects that are smaller than a cell in width or height."""
        return float(np.mean(self.shorter < self.stride))


class Advice(NamedTuple):
    """settings: those that match more objects, empty where the present ones match enough. before, after: figures
    without and with them. limit: objects of one image that the model uses, None = all. above: fraction of the images
    with more."""

    model: str
    images: int
    objects: int
    before: Fit
    after: Fit
    settings: dict
    limit: Optional[int]
    above: float

    @property
    def flags(self) -> str:
        """The settings as they are given on the command line."""
        return " ".join(f"--{key} {str(value).replace(' ', '')}" for key, value in self.settings.items())

    def text(self) -> str:
        """For the terminal."""
        rows = [(f"objects smaller than a cell ({self.before.stride} pixels)", *self._percents("small"))]
        if self.before.matched is not None:
            rows = [("priors per object", f"{self.before.mean:.1f}", f"{self.after.mean:.1f}"),
                    (f"objects with fewer than {self.before.enough}", *self._percents("few")),
                    *([("objects with none", *self._percents("unmatched"))] if self.before.enough > 1 else []), *rows]
        if self.limit is not None:
            rows.append((f"images with more than {self.limit} objects", f"{self.above:.1%}", "0.0%"))
        changed = bool(self.settings)
        lines = [f"{self.model} and the {counted(self.objects, 'object')} of {counted(self.images, 'image')}, without "
                 "augmentation", "",
                 f"{'':{NAME_COLUMNS}}{'now':>8}{'advised' * changed:>10}".rstrip()]
        lines += [f"{name:{NAME_COLUMNS}}{now:>8}{then * changed:>10}".rstrip() for name, now, then in rows]
        return "\n".join([*lines, "", f"settings that match more objects: {self.flags}" if changed else
                          "No setting matches clearly more objects."])

    def _percents(self, name: str) -> tuple[str, str]:
        return f"{getattr(self.before, name):.1%}", f"{getattr(self.after, name):.1%}"


def advise(config: Any, annotations: AnnotationSet) -> Optional[Advice]:
    """What the audited annotations ask of the model of `config`; None without objects. Crowds are no objects."""
    images = [ImageBoxes(record.boxes[~record.crowd], record.height, record.width, record.labels[~record.crowd])
              for record in annotations.records]
    return advise_for(config, images, annotations.classes)


def advise_for(config: Any, images: Sequence[ImageBoxes], classes: Sequence[str],
               fixed: Iterable[str] = ()) -> Optional[Advice]:
    """What the objects of these images ask of the model of `config`; None without objects. fixed: settings that keep
    their values.

    Priors are tried on SAMPLE_OBJECTS objects of images spread over the set. Of each stage that the family names, the
    option with the largest Fit.learnable is taken, if it gains enough.
    """
    fixed, total = set(fixed), len(images)
    # Sorted, so that the sample is the same whether the images come from annotations or from MindRecord files.
    images = sorted((image for image in images if len(image.boxes)),
                    key=lambda image: (image.height, image.width, image.boxes.tobytes()))
    if not images:
        return None
    sample = _sample(images)

    def tried(given: dict) -> Optional[Fit]:
        try:
            detector = build_detector(config.replace(**given), classes)
        except ConfigError:     # settings of this option exclude each other
            return None
        return _fit(detector, sample, images)

    detector = build_detector(config, classes)
    fit = before = _fit(detector, sample, images)
    settings: dict = {}
    for stage in detector.priors_to_try():
        if fit.forgotten < stage.unmatched:
            continue
        candidates = [(option, found) for option in _without(stage.options, fixed)
                      if (found := tried({**settings, **option}))]
        option, best = max(candidates, key=lambda item: item[1].learnable, default=({}, fit))
        if best.learnable >= fit.learnable + (LEAST_GAIN if fit.few >= LEAST_FEWER else CLEAR_GAIN):
            settings, fit = {**settings, **option}, best
    enlarged = {} if fixed & set(detector.larger_input()) else detector.larger_input()
    larger = tried({**settings, **enlarged}) if fit.small > MANY_SMALL else None
    if larger is not None and larger.small <= fit.small - LEAST_FEWER:
        settings, fit = {**settings, **enlarged}, larger
    counts = np.array([len(image.boxes) for image in images])
    limit = detector.max_objects
    above = 0.0 if limit is None else float(np.sum(counts > limit)) / total
    if above and detector.max_objects_setting and detector.max_objects_setting not in fixed:
        settings[detector.max_objects_setting] = int(counts.max())
    present = config.values()
    settings = {key: value for key, value in settings.items() if value != present[key]}
    return Advice(config.model.model_name, total, int(counts.sum()), before, fit, settings, limit, above)


def _without(options: Iterable[dict], fixed: set[str]) -> list[dict]:
    """The options that are left where some settings keep their values."""
    left: list[dict] = []
    for option in options:
        free = {key: value for key, value in option.items() if key not in fixed}
        if free and free not in left:
            left.append(free)
    return left


def _sample(images: Sequence[ImageBoxes]) -> list[ImageBoxes]:
    """Images spread over the set that have about SAMPLE_OBJECTS objects together."""
    total = sum(len(image.boxes) for image in images)
    wanted = min(len(images), max(1, round(len(images) * SAMPLE_OBJECTS / total)))
    return [images[index] for index in np.linspace(0, len(images) - 1, wanted).round().astype(int)]


def _fit(detector: Any, sample: Sequence[ImageBoxes], images: Sequence[ImageBoxes]) -> Fit:
    matched = [detector.matches(image.boxes, image.height, image.width) for image in sample]
    on_input = np.concatenate([detector.on_input(image.boxes, image.height, image.width) for image in images])
    return Fit(None if matched[0] is None else np.concatenate(matched),
               np.concatenate([image.labels for image in sample]),
               (on_input[:, 2:] - on_input[:, :2]).min(axis=1), detector.finest_stride, detector.enough_priors)
