"""Faster and Mask R-CNN of PyTorch's libraries: how they name and lay out what ours have.

Where they compute differently is a matter of settings, backbone_style and box_style above all, which stand together in
config/*/*_torchvision.yaml and *_mmdet.yaml.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional

import numpy as np
from mindspore import nn

from src.backbones.library_names import torchvision_resnet
from src.conditions import norm_eps
from src.conversion.backbones import COUNTER, LIBRARY_EPS, batch_norms, renamed_from_library, scale_norms
from src.conversion.coco_classes import COCO_OUTPUTS, UNUSED_IDS, without_unused_ids
from src.conversion.naming import Naming

LOGITS, DELTAS, MASKS = "box_head.logits", "box_head.deltas", "mask_head.logits"
PYRAMID_LEVELS = 4
MASK_CONVS = 4

# torchvision reads its own files of COCO, whose batch norms are frozen, with this epsilon.
FROZEN_EPS = 0.0


@dataclass(frozen=True)
class Library:
    """name: also that of its box_style. cells: theirs -> ours. prepare: changes arrays {their name: array} that have a
    row for each class, given the name of theirs by ours and the number of our outputs."""

    name: str
    cells: dict
    prepare: Callable[[dict, dict, int], None]


def two_stage_namings(_detector, network: nn.Cell) -> list:
    """The detectors with ResNet-50 and a feature pyramid, for a network with these layers."""
    return [_naming(Library("torchvision", _torchvision_cells(), _prepare_torchvision), network),
            _naming(Library("mmdet", _mmdet_cells(), _prepare_mmdet), network)]


def _naming(library: Library, network: nn.Cell) -> Naming:
    norms, theirs_of = batch_norms(network), {ours: theirs for theirs, ours in library.cells.items()}
    linear = {theirs for theirs, ours in library.cells.items() if ours.startswith("box_head.")}
    outputs = network.box_head.logits.bias.shape[0]

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        library.prepare(result, theirs_of, outputs)
        result = {name: array.T if name.rpartition(".")[0] in linear else array for name, array in result.items()}
        frozen = library.name == "torchvision" and not any(name.endswith(COUNTER) for name in arrays)
        scale_norms(result, library.cells, norms, FROZEN_EPS if frozen else LIBRARY_EPS)
        return result

    return Naming(library.name, "detector", lambda name: renamed_from_library(name, library.cells, norms),
                  _reason_to_ignore, bool, prepare, lambda _arrays: {
                      "backbone_style": "pytorch", "box_style": library.name, "norm_eps": norm_eps(network.backbone)})


def _reason_to_ignore(name: str) -> Optional[str]:
    return "PyTorch's count of batches" if name.endswith(COUNTER) else None


def _torchvision_cells() -> dict:
    """Several layers got a number behind their name in 2022; the published files are older."""
    cells = torchvision_resnet(50, "backbone.body.")
    for level in range(PYRAMID_LEVELS):
        for number in (".0", ""):
            cells[f"backbone.fpn.inner_blocks.{level}{number}"] = f"fpn.laterals.{level}"
            cells[f"backbone.fpn.layer_blocks.{level}{number}"] = f"fpn.outputs.{level}"
    for index in range(MASK_CONVS):
        for theirs in (f"{index}.0", f"mask_fcn{index + 1}"):
            cells[f"roi_heads.mask_head.{theirs}"] = f"mask_head.convs.{index}"
    return {**cells, "rpn.head.conv.0.0": "rpn.conv", "rpn.head.conv": "rpn.conv",
            "rpn.head.cls_logits": "rpn.objectness", "rpn.head.bbox_pred": "rpn.deltas",
            "roi_heads.box_head.fc6": "box_head.hidden.0", "roi_heads.box_head.fc7": "box_head.hidden.1",
            "roi_heads.box_predictor.cls_score": LOGITS, "roi_heads.box_predictor.bbox_pred": DELTAS,
            "roi_heads.mask_predictor.conv5_mask": "mask_head.upscale",
            "roi_heads.mask_predictor.mask_fcn_logits": MASKS}


def _prepare_torchvision(arrays: dict, theirs_of: dict, outputs: int) -> None:
    logits = arrays.get(f"{theirs_of[LOGITS]}.bias")
    if logits is not None and len(logits) == COCO_OUTPUTS == outputs + len(UNUSED_IDS):
        for name in arrays:
            if name.startswith(tuple(theirs_of[cell] for cell in (LOGITS, DELTAS, MASKS))):
                arrays[name] = without_unused_ids(arrays[name])


def _mmdet_cells() -> dict:
    """Of mmdetection 2 and 3."""
    cells = torchvision_resnet(50, "backbone.")
    for level in range(PYRAMID_LEVELS):
        cells[f"neck.lateral_convs.{level}.conv"] = f"fpn.laterals.{level}"
        cells[f"neck.fpn_convs.{level}.conv"] = f"fpn.outputs.{level}"
    for index in range(MASK_CONVS):
        cells[f"roi_head.mask_head.convs.{index}.conv"] = f"mask_head.convs.{index}"
    return {**cells, "rpn_head.rpn_conv": "rpn.conv", "rpn_head.rpn_cls": "rpn.objectness",
            "rpn_head.rpn_reg": "rpn.deltas", "roi_head.bbox_head.shared_fcs.0": "box_head.hidden.0",
            "roi_head.bbox_head.shared_fcs.1": "box_head.hidden.1", "roi_head.bbox_head.fc_cls": LOGITS,
            "roi_head.bbox_head.fc_reg": DELTAS, "roi_head.mask_head.upsample": "mask_head.upscale",
            "roi_head.mask_head.conv_logits": MASKS}


def _prepare_mmdet(arrays: dict, theirs_of: dict, _outputs: int) -> None:
    """Background is the last class there and the first here; it has no mask there, and an unused one here."""
    for word in ("weight", "bias"):
        logits, masks = f"{theirs_of[LOGITS]}.{word}", f"{theirs_of[MASKS]}.{word}"
        if logits in arrays:
            arrays[logits] = np.roll(arrays[logits], 1, axis=0)
        if masks in arrays:
            arrays[masks] = np.concatenate([np.zeros_like(arrays[masks][:1]), arrays[masks]])
