"""How files of other programs name the weights of our networks."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping, Optional

from src.backbones.depths import RESNET_BLOCKS
from src.checkpoint import is_optimizer_state

SOURCES = ("zoo", "mindcv", "torchvision", "timm", "mmdet", "detectron2", "centernet", "tensorflow")


@dataclass(frozen=True)
class Naming:
    """One kind of file.

    content: "detector" or "backbone". rename: their name -> ours, None where there is none. reason_to_ignore: why an
    array of theirs is left out, None if it is not. is_needed: whether a parameter of ours has to be in the file.
    prepare: arrays of the file, which has all that is needed -> what they have to be where our layers compute
    differently. conditions: arrays of the file -> what the network that loads the result has to have, see Weights.
    copies: {our cell: the one whose weights it has, too}, where one layer of theirs is two of ours. refused: {names of
    theirs: why a file that has all of them is another network's}.
    """

    source: str
    content: str
    rename: Callable[[str], Optional[str]]
    reason_to_ignore: Callable[[str], Optional[str]]
    is_needed: Callable[[str], bool]
    prepare: Callable[[dict], dict] = dict
    conditions: Callable[[dict], dict] = lambda _arrays: {}
    copies: dict = field(default_factory=dict, hash=False)
    refused: Mapping[tuple, str] = field(default_factory=dict, hash=False)


def resnet_of(names: Iterable[str]) -> tuple[Optional[str], Optional[int]]:
    """(kind, depth) of the ResNet or Res2Net whose parameters have these names, depth None if it is neither."""
    names = list(names)
    third_stage = {found.group(1) for found in (re.search(r"layer3\.(\d+)\.", name) for name in names) if found}
    depth = next((depth for depth, counts in RESNET_BLOCKS.items() if counts[2] == len(third_stage)), None)
    return "res2net" if any(".convs." in name for name in names) else "resnet", depth


def zoo_namings(detector) -> list:
    """The old zoo's checkpoints: of whole detectors, and the ImageNet files its backbones started from."""
    elsewhere = tuple(detector.not_from_imagenet)
    return [
        Naming("zoo", "detector", detector.from_zoo, _of_the_optimizer, is_needed=bool,  # every name
               conditions=detector.settings_of_zoo),
        Naming("zoo", "backbone", detector.from_imagenet,
               lambda theirs: "the classifier of ImageNet" if theirs.startswith(elsewhere)
               else _of_the_optimizer(theirs),
               lambda ours: ours.startswith("backbone.") and not ours.startswith(elsewhere)),
    ]


def _of_the_optimizer(theirs: str) -> Optional[str]:
    return "state of the optimizer" if is_optimizer_state(theirs) else None
