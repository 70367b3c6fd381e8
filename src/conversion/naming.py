"""How files of other programs name the weights of our networks."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping, NamedTuple, Optional

from src.backbones.depths import RESNET_BLOCKS
from src.checkpoint import is_optimizer_state

SOURCES = ("zoo", "mindcv", "torchvision", "timm", "mmdet", "detectron2", "centernet", "tensorflow")


@dataclass(frozen=True)
class Naming:
    """How one kind of file names its weights. "Their" names occur in the file, "our" names in our network.

    source: the library, one of SOURCES.
    content: "detector" or "backbone".
    rename: their name -> our name, None if our network has no such parameter.
    reason_to_ignore: their name -> why the array is left out, None if it is taken.
    is_needed: our name -> whether the file must have the parameter.
    prepare: {their name: array} of a complete file -> the same with values that suit our layers, where these compute
        differently.
    conditions: {their name: array} -> settings that the network needs with these weights, see Weights.
    copies: {our cell: our other cell}, where one layer of theirs fills both.
    refused: {their names: reason}; a file that has all of these names belongs to another network.
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


class ResNetKind(NamedTuple):
    """kind: "resnet" or "res2net". depth: 50, 101 or 152; None if the names belong to neither network."""

    kind: str
    depth: Optional[int]


def resnet_of(names: Iterable[str]) -> ResNetKind:
    """The ResNet or Res2Net whose parameters have these names."""
    names = list(names)
    third_stage = {found.group(1) for found in (re.search(r"layer3\.(\d+)\.", name) for name in names) if found}
    depth = next((depth for depth, counts in RESNET_BLOCKS.items() if counts[2] == len(third_stage)), None)
    return ResNetKind("res2net" if any(".convs." in name for name in names) else "resnet", depth)


def zoo_namings(detector) -> list:
    """The old zoo's checkpoints of whole detectors, and the ImageNet checkpoints that its trainings start from."""
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
