"""The table of SSD models: the parts that a model's name decides. Importing it does not import MindSpore."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, Optional

from src.backbones.depths import MOBILENET_V2_BLOCKS_AT_STRIDE_16


@dataclass(frozen=True)
class Variant:
    """One row.

    backbone: row of src/backbones/table.py. maps: how many of the backbone's maps are used, its last ones.
    extra: kind of the layer that makes every further map, see src/ssd/network.py and src/ssd/legacy.py.
    fpn: the backbone's maps go through a feature pyramid, and all levels share one predictor (RetinaNet).
    fixed_strides: the further maps always halve the sides; otherwise extras_strides says what they do.
    unpadded_from: level from which on the further maps are made without padding and stride, two cells smaller.
    backbone_settings: arguments of the backbone's builder, from the `model` section.
    zoo_spelling: arguments of the backbone's zoo_cells, for names in the zoo's checkpoints of this model.
    """

    backbone: str
    extra: str
    backbone_settings: Callable[[object], dict]
    maps: int = 2
    fpn: bool = False
    fixed_strides: bool = False
    unpadded_from: Optional[int] = None
    zoo_spelling: dict = field(default_factory=dict, hash=False)


def _mobilenet(model) -> dict:
    return {"symmetric": model.pads_every_side}


def _resnet(model) -> dict:
    return {"symmetric": model.pads_every_side, "symmetric_pool": model.pools_every_side, "eps": 1e-3,
            "momentum": 0.997}


def _vgg(model) -> dict:
    return {"bias": model.vgg_bias, "fc_relu": model.vgg_extra_relu, "as_in_paper": model.ssd_style == "torchvision"}


def _split_mobilenet_v2(block: int) -> str:
    """The zoo's SSD holds the MobileNetV2 in two parts, one for each map."""
    if block <= MOBILENET_V2_BLOCKS_AT_STRIDE_16:
        return f"network.backbone.features_1.{block}"
    return f"network.backbone.features_2.{block - MOBILENET_V2_BLOCKS_AT_STRIDE_16 - 1}"


VARIANTS = {
    "ssd300": Variant("mobilenet_v2", "inverted residual", _mobilenet, zoo_spelling={"zoo_block": _split_mobilenet_v2}),
    "ssd_mobilenet_v1": Variant(
        "mobilenet_v1", "convolution", _mobilenet, zoo_spelling={"zoo": "network.feature_extractor.mobilenet_v1."}),
    "ssd_mobilenet_v1_fpn": Variant(
        "mobilenet_v1_pyramid", "pyramid", _mobilenet, maps=3, fpn=True, fixed_strides=True,
        zoo_spelling={"zoo": "network.feature_extractor.mobilenet_v1."}),
    "ssd_resnet50_fpn": Variant(
        "resnet50", "pyramid", _resnet, maps=3, fpn=True, fixed_strides=True,
        zoo_spelling={"zoo": "network.feature_extractor.resnet."}),
    "ssd_vgg16": Variant(
        "vgg16", "VGG", _vgg, fixed_strides=True, unpadded_from=4, zoo_spelling={"zoo_block": "network.backbone.b{}"}),
}
