"""Parameter names of the old zoo's Faster R-CNN checkpoints, and of the ImageNet checkpoints they start from -> ours.

The tables hold the names of cells; the last word of a parameter's name (weight, gamma, ...) is the same everywhere.
"""
from __future__ import annotations

from src.backbones.table import Backbone

NOT_FROM_IMAGENET = ("fc.", "end_point.", "head.")  # classifiers of ImageNet checkpoints
FILTER_WORDS = {"rcnn.cls_scores": "box_head.logits", "rcnn.reg_scores": "box_head.deltas"}
EXPORT_PREFIX = "network."  # in front of every name in files that the zoo's export wrapper saved
PYRAMID_LEVELS = 4
SHORTCUT = ("conv_down_sample", "bn_down_sample")  # of a backbone's blocks


def zoo_cells(backbone: Backbone, box_head: str = "rcnn") -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo."""
    cells = {f"{box_head}.shared_fc_0": "box_head.hidden.0", f"{box_head}.shared_fc_1": "box_head.hidden.1",
             f"{box_head}.cls_scores": "box_head.logits", f"{box_head}.reg_scores": "box_head.deltas"}
    for theirs, ours in (("rpn_conv", "conv"), ("rpn_cls", "objectness"), ("rpn_reg", "deltas")):
        cells[f"rpn_with_loss.rpn_convs_list.0.{theirs}"] = f"rpn.{ours}"
    for neck in ("fpn_ncek", "fpn_neck"):  # r1.2 and later revisions
        for level in range(PYRAMID_LEVELS):
            cells[f"{neck}.lateral_convs_list.{level}"] = f"fpn.laterals.{level}"
            cells[f"{neck}.fpn_convs_list.{level}"] = f"fpn.outputs.{level}"
    cells.update(backbone.zoo_cells("backbone.", shortcut=SHORTCUT))
    return {**cells, **{EXPORT_PREFIX + theirs: ours for theirs, ours in cells.items()}}


def imagenet_cells(backbone: Backbone) -> dict:
    """Names of all cells in an ImageNet checkpoint, as it is or through the zoo's convert_checkpoint.py."""
    return {**backbone.zoo_cells(), **backbone.zoo_cells("backbone.", shortcut=SHORTCUT)}
