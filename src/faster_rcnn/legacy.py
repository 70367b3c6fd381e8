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


def settings_of(arrays: dict, box_head: str = "rcnn") -> dict:
    """Settings of a checkpoint of the zoo, by its names and shapes; empty for other files.

    In the zoo's Res2Nets (src/FasterRcnn/res2net.py) the first two norms of the stem always take the statistics of the
    batch. Later revisions of Faster R-CNN predict no box for the background.
    """
    plain = {name.removeprefix(EXPORT_PREFIX): array for name, array in arrays.items()}
    scores, boxes = (plain.get(f"{box_head}.{name}.bias") for name in ("cls_scores", "reg_scores"))
    if scores is None or boxes is None:
        return {}
    settings = {"without_bg_loss": boxes.size == 4 * (scores.size - 1)}
    return {**settings, "stem_batch_statistics": True} if "backbone.bn1_0.gamma" in plain else settings


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
