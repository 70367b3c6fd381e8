"""Faster and Mask R-CNN of torchvision, mmdetection and detectron2: names and layout of their weights.

Differences in the computation are settings, above all backbone_style and box_style. The files
config/*/*_torchvision.yaml, *_mmdet.yaml and *_detectron2.yaml hold them.
"""
from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Callable, Optional

import numpy as np
from mindspore import nn

from src.backbones.depths import RESNET_BLOCKS
from src.backbones.library_names import torchvision_resnet
from src.conditions import norm_eps
from src.conversion.backbones import COUNTER, LIBRARY_EPS, batch_norms, renamed_from_library, scale_norms
from src.conversion.coco_classes import COCO_OUTPUTS, UNUSED_IDS, without_unused_ids
from src.conversion.naming import Naming
from src.errors import CheckpointError

LOGITS, DELTAS, MASKS = "box_head.logits", "box_head.deltas", "mask_head.logits"
STEM = "backbone.stem.conv"
PYRAMID_LEVELS = 4
MASK_CONVS = 4

# torchvision reads its own files of COCO, whose batch norms are frozen, with this epsilon.
FROZEN_EPS, FROZEN_DEPTH = 0.0, 50

# Further arrays in detectron2's files: mean and std of the input, and the anchors of a cell, for each level.
LARGEST_ROUNDING = 1.01  # pixels, of the sides of anchors in another box_style
PIXEL_MEAN, PIXEL_STD, ANCHORS = "pixel_mean", "pixel_std", "proposal_generator.anchor_generator.cell_anchors."


@dataclass(frozen=True)
class Library:
    """A library that publishes two-stage detectors.

    name: also the name of its box_style.
    cells: {their cell: our cell}.
    prepare: (arrays {their name: array}, {our cell: their cell}, number of our class outputs) -> None; changes the
        arrays that have another layout.
    backbone_style: {their name: array} -> value of the setting backbone_style.
    """

    name: str
    cells: dict
    prepare: Callable[[dict, dict, int], None]
    backbone_style: Callable[[dict], str] = lambda _arrays: "pytorch"


def two_stage_namings(detector, network: nn.Cell) -> list:
    """The namings of the three libraries, for a network with a ResNet and a feature pyramid."""
    depth = int(detector.config.model.backbone_name[len("resnet"):])
    detectron2 = Library("detectron2", _detectron2_cells(depth), partial(_prepare_detectron2, detector),
                         lambda arrays: "caffe" if _sees_bgr(arrays, detector.mean) else "pytorch")
    libraries = (Library("torchvision", _torchvision_cells(depth), _prepare_torchvision),
                 Library("mmdet", _mmdet_cells(depth), _prepare_mmdet), detectron2)
    return [_naming(library, network, depth) for library in libraries]


def _naming(library: Library, network: nn.Cell, depth: int) -> Naming:
    norms, theirs_of = batch_norms(network), {ours: theirs for theirs, ours in library.cells.items()}
    linear = {theirs for theirs, ours in library.cells.items() if ours.startswith("box_head.")}
    outputs = network.box_head.logits.bias.shape[0]

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        library.prepare(result, theirs_of, outputs)
        result = {name: array.T if name.rpartition(".")[0] in linear else array for name, array in result.items()}
        frozen = library.name == "torchvision" and depth == FROZEN_DEPTH and \
            not any(name.endswith(COUNTER) for name in arrays)
        scale_norms(result, library.cells, norms, FROZEN_EPS if frozen else LIBRARY_EPS)
        return result

    return Naming(library.name, "detector", lambda name: renamed_from_library(name, library.cells, norms),
                  _reason_to_ignore, bool, prepare, lambda arrays: {
                      "backbone_style": library.backbone_style(arrays), "box_style": library.name,
                      "norm_eps": norm_eps(network.backbone)})


def _reason_to_ignore(name: str) -> Optional[str]:
    if name.startswith(ANCHORS):
        return "anchors, which were compared with those of the settings"
    if name in (PIXEL_MEAN, PIXEL_STD):
        return "mean and std of the input, part of the first layer"
    return "PyTorch's count of batches" if name.endswith(COUNTER) else None


def _torchvision_cells(depth: int) -> dict:
    """Both names of the layers that torchvision renamed in 2022; the published files have the older names."""
    cells = torchvision_resnet(depth, "backbone.body.")
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


def _mmdet_cells(depth: int) -> dict:
    """The cells of mmdetection 2 and 3, {their cell: our cell}."""
    cells = torchvision_resnet(depth, "backbone.")
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
    """Put the background first, which mmdetection has last, and add its mask, which is unused."""
    for word in ("weight", "bias"):
        logits, masks = f"{theirs_of[LOGITS]}.{word}", f"{theirs_of[MASKS]}.{word}"
        if logits in arrays:
            arrays[logits] = np.roll(arrays[logits], 1, axis=0)
        if masks in arrays:
            arrays[masks] = np.concatenate([np.zeros_like(arrays[masks][:1]), arrays[masks]])


def _detectron2_cells(depth: int) -> dict:
    prefix = "backbone.bottom_up."
    cells = {f"{prefix}stem.conv1": STEM, f"{prefix}stem.conv1.norm": "backbone.stem.norm"}
    for stage, blocks in enumerate(RESNET_BLOCKS[depth]):
        for block in range(blocks):
            layers = {"conv1": "reduce", "conv2": "spatial", "conv3": "expand"}
            for layer, name in {**layers, **({} if block else {"shortcut": "shortcut"})}.items():
                theirs, ours = f"{prefix}res{stage + 2}.{block}.{layer}", f"backbone.stages.{stage}.{block}.{name}"
                cells.update({theirs: f"{ours}.conv", f"{theirs}.norm": f"{ours}.norm"})
    for level in range(PYRAMID_LEVELS):
        cells[f"backbone.fpn_lateral{level + 2}"] = f"fpn.laterals.{level}"
        cells[f"backbone.fpn_output{level + 2}"] = f"fpn.outputs.{level}"
    for index in range(MASK_CONVS):
        cells[f"roi_heads.mask_head.mask_fcn{index + 1}"] = f"mask_head.convs.{index}"
    rpn = "proposal_generator.rpn_head."
    return {**cells, f"{rpn}conv": "rpn.conv", f"{rpn}objectness_logits": "rpn.objectness",
            f"{rpn}anchor_deltas": "rpn.deltas", "roi_heads.box_head.fc1": "box_head.hidden.0",
            "roi_heads.box_head.fc2": "box_head.hidden.1", "roi_heads.box_predictor.cls_score": LOGITS,
            "roi_heads.box_predictor.bbox_pred": DELTAS, "roi_heads.mask_head.deconv": "mask_head.upscale",
            "roi_heads.mask_head.predictor": MASKS}


def _sees_bgr(arrays: dict, mean: np.ndarray) -> bool:
    """Whether detectron2's first layer takes blue, green, red, as in its model zoo; the order of its mean shows it.

    mean: (3,), of our network's input, RGB. Raises CheckpointError if the file has another mean in either order.
    """
    theirs = np.asarray(arrays.get(PIXEL_MEAN, mean[::-1])).ravel()
    for bgr in (True, False):
        if theirs.shape == (3,) and np.allclose(theirs, mean[::-1] if bgr else mean, atol=1e-3):
            return bgr
    raise CheckpointError(f"{PIXEL_MEAN} {theirs.tolist()} of the file is not the mean {mean.tolist()} of the "
                          "network's input, in neither order; such weights cannot be used here")


def _prepare_detectron2(detector, arrays: dict, theirs_of: dict, outputs: int) -> None:
    """As for mmdetection, with the first layer adapted to our order of channels and our std, and the anchors compared.

    Raises CheckpointError if mean or anchors of the file differ from the settings.
    """
    _prepare_mmdet(arrays, theirs_of, outputs)
    stem, order = f"{theirs_of[STEM]}.weight", -1 if _sees_bgr(arrays, detector.mean) else 1
    std = np.broadcast_to(np.asarray(arrays.get(PIXEL_STD, 1.0), np.float64).ravel(), 3)
    arrays[stem] = arrays[stem][:, ::order] * (detector.std / std[::order]).reshape(1, 3, 1, 1)
    for level, anchors in enumerate(detector.anchors):
        of_a_cell = anchors[:detector.config.model.anchors_per_cell]
        theirs = np.asarray(arrays.get(f"{ANCHORS}{level}", of_a_cell + [0, 0, 1, 1]))
        sides, wanted = theirs[:, 2:] - theirs[:, :2], of_a_cell[:, 2:] - of_a_cell[:, :2] + 1
        if sides.shape != wanted.shape or not np.allclose(sides, wanted, atol=LARGEST_ROUNDING):
            raise CheckpointError(f"{ANCHORS}{level} of the file are {np.round(sides).tolist()} pixels wide and high, "
                                  f"those of the settings {np.round(wanted).tolist()}; give the file's --anchor_scales "
                                  "and --anchor_ratios")
