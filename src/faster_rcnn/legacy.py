"""Parameter names of the old zoo's Faster R-CNN checkpoints, and of the ImageNet checkpoints they start from -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from src.backbones.zoo_names import res2net_cells, resnet_cells

NOT_FROM_IMAGENET = ("fc.", "end_point.", "head.")  # classifiers of ImageNet checkpoints
FILTER_WORDS = {"rcnn.cls_scores": "box_head.logits", "rcnn.reg_scores": "box_head.deltas"}
EXPORT_PREFIX = "network."  # in front of every name in files that the zoo's export wrapper saved
PYRAMID_LEVELS = 4


def zoo_cells(body: tuple, box_head: str = "rcnn") -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo. body: kind and depth."""
    cells = {f"{box_head}.shared_fc_0": "box_head.hidden.0", f"{box_head}.shared_fc_1": "box_head.hidden.1",
             f"{box_head}.cls_scores": "box_head.logits", f"{box_head}.reg_scores": "box_head.deltas"}
    for theirs, ours in (("rpn_conv", "conv"), ("rpn_cls", "objectness"), ("rpn_reg", "deltas")):
        cells[f"rpn_with_loss.rpn_convs_list.0.{theirs}"] = f"rpn.{ours}"
    for neck in ("fpn_ncek", "fpn_neck"):  # r1.2 and later revisions
        for level in range(PYRAMID_LEVELS):
            cells[f"{neck}.lateral_convs_list.{level}"] = f"fpn.laterals.{level}"
            cells[f"{neck}.fpn_convs_list.{level}"] = f"fpn.outputs.{level}"
    cells.update(_body(body, "backbone.", shortcut=("conv_down_sample", "bn_down_sample")))
    return {**cells, **{EXPORT_PREFIX + theirs: ours for theirs, ours in cells.items()}}


def imagenet_cells(body: tuple) -> dict:
    """Names of all cells in an ImageNet checkpoint of the body, as it is or through the zoo's convert_checkpoint.py."""
    return {**_body(body, ""), **_body(body, "backbone.", shortcut=("conv_down_sample", "bn_down_sample"))}


def _body(body: tuple, zoo: str, **shortcut) -> dict:
    kind, depth = body
    return (resnet_cells if kind == "resnet" else res2net_cells)(depth, zoo, **shortcut)
