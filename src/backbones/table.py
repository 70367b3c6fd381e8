"""The table of backbones: builder, maps, and names of the layers in other programs.

Importing this module does not import MindSpore; the module of a network is imported when it is built.
"""
from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Callable

from src.backbones.depths import (
    MOBILENET_V1_BLOCKS,
    MOBILENET_V2_CHANNELS,
    RESNET_EXPANSION,
    RESNET_HIDDEN,
    VGG16_BLOCKS,
    VGG16_FC_CHANNELS,
)
from src.backbones.library_names import (
    OTHER_MOBILENET_V1,
    OTHER_RES2NET,
    LibraryBackbone,
    mindcv_mobilenet_v2,
    mindcv_res2net,
    mindcv_resnet,
    timm_mobilenet_v1,
    timm_mobilenet_v2,
    timm_res2net,
    torchvision_mobilenet_v2,
    torchvision_resnet,
    torchvision_vgg16,
)
from src.backbones.zoo_names import (
    mobilenet_v1_cells,
    mobilenet_v2_cells,
    res2net_cells,
    resnet_cells,
    vgg16_cells,
)
from src.errors import ConfigError


@dataclass(frozen=True)
class Backbone:
    """One row.

    build: settings that the family decides (padding, norms) -> Cell from (B, 3, H, W) to a tuple of maps (B, C, h, w).
    channels, strides: of these maps, finest first; h is H / stride, rounded up.
    zoo_cells: {the zoo's name of a cell: ours}, in the zoo's ImageNet files; arguments spell the names as a family's
    checkpoints do. Our names begin with "backbone.".
    libraries: the same network in other libraries.
    """

    build: Callable
    channels: tuple
    strides: tuple
    zoo_cells: Callable[..., dict]
    libraries: tuple = ()


def find_backbone(name: str) -> Backbone:
    """The row of a name; raises ConfigError that lists the names."""
    if name not in BACKBONES:
        raise ConfigError(f"unknown backbone '{name}'; src/backbones/table.py has {', '.join(BACKBONES)}")
    return BACKBONES[name]


def _build(builder: str, *arguments, **settings):
    """Call a builder, "module.name" in this folder."""
    module, _, name = builder.partition(".")
    return getattr(importlib.import_module(f"src.backbones.{module}"), name)(*arguments, **settings)


def _resnet(depth: int) -> Backbone:
    channels = tuple(hidden * RESNET_EXPANSION for hidden in RESNET_HIDDEN)
    return Backbone(
        partial(_build, "resnet.ResNet", depth), channels, (4, 8, 16, 32),
        partial(resnet_cells, depth), (
            LibraryBackbone("torchvision", partial(torchvision_resnet, depth), ("fc.",)),
            LibraryBackbone("mindcv", partial(mindcv_resnet, depth), ("classifier.",), style="mindcv")))


def _res2net(depth: int) -> Backbone:
    return replace(
        _resnet(depth), build=partial(_build, "res2net.res2net", depth), zoo_cells=partial(res2net_cells, depth),
        libraries=(
            LibraryBackbone("timm", partial(timm_res2net, depth), ("fc.",), refused=OTHER_RES2NET),
            LibraryBackbone("mindcv", partial(mindcv_res2net, depth), ("classifier.",))))


def _mobilenet_v1(taps: tuple, strides: tuple) -> Backbone:
    """taps: numbers of the blocks whose outputs are the maps, from 1."""
    channels, half = tuple(MOBILENET_V1_BLOCKS[tap - 1][0] for tap in taps), (0.5, 0.5, 0.5)
    return Backbone(
        partial(_build, "mobilenet_v1.MobileNetV1", taps), channels, strides, mobilenet_v1_cells,
        (LibraryBackbone("timm", timm_mobilenet_v1, ("classifier.",), mean=half, std=half,
                         refused=OTHER_MOBILENET_V1),))


def _vgg16(batch_norm: bool) -> Backbone:
    cells = partial(torchvision_vgg16, batch_norm)
    return Backbone(
        partial(_build, "vgg.VGG16", batch_norm), (VGG16_BLOCKS[3][1], VGG16_FC_CHANNELS), (8, 16),
        partial(vgg16_cells, batch_norm),
        (LibraryBackbone("torchvision", cells, ("classifier.",)),
         LibraryBackbone("timm", cells, ("pre_logits.", "head."))))


BACKBONES = {
    "resnet50": _resnet(50),
    "resnet101": _resnet(101),
    "resnet152": _resnet(152),
    "res2net50": _res2net(50),
    "res2net101": _res2net(101),
    "res2net152": _res2net(152),
    "mobilenet_v1": _mobilenet_v1((7, 13), (16, 32)),
    "mobilenet_v1_pyramid": _mobilenet_v1((5, 11, 13), (8, 16, 32)),
    "mobilenet_v2": Backbone(
        partial(_build, "mobilenet_v2.MobileNetV2"), MOBILENET_V2_CHANNELS, (16, 32), mobilenet_v2_cells,
        (LibraryBackbone("torchvision", torchvision_mobilenet_v2, ("classifier.",)),
         LibraryBackbone("timm", timm_mobilenet_v2, ("classifier.",)),
         LibraryBackbone("mindcv", mindcv_mobilenet_v2, ("classifier.",)))),
    "vgg16": _vgg16(batch_norm=False),
    "vgg16_bn": _vgg16(batch_norm=True),
}
