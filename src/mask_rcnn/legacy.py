"""Parameter names of the old zoo's Mask R-CNN checkpoints -> ours: tables of cells as in src/faster_rcnn/legacy.py."""
from __future__ import annotations

from src.backbones.table import Backbone
from src.faster_rcnn import legacy

BOX_HEAD, MASK_HEAD = "rcnn_cls.fpn_cls", "rcnn_mask.fpn_mask"
FILTER_WORDS = {f"{BOX_HEAD}.cls_scores": "box_head.logits", f"{BOX_HEAD}.reg_scores": "box_head.deltas",
                f"{MASK_HEAD}.mask_conv6": "mask_head.logits"}


def zoo_cells(backbone: Backbone) -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo."""
    cells = {f"{MASK_HEAD}.mask_conv{number}": f"mask_head.convs.{number - 1}" for number in (1, 2, 3, 4)}
    cells.update({f"{MASK_HEAD}.mask_deconv5": "mask_head.upscale", f"{MASK_HEAD}.mask_conv6": "mask_head.logits"})
    return {**legacy.zoo_cells(backbone, BOX_HEAD), **cells,
            **{legacy.EXPORT_PREFIX + theirs: ours for theirs, ours in cells.items()}}
