"""Settings of the Mask R-CNN family: those of Faster R-CNN, with other defaults, and of the mask head."""
from typing import ClassVar, Dict, List, Literal

from pydantic import Field

from src.faster_rcnn.config import (
    FasterRCNNConfig,
    FasterRCNNData,
    FasterRCNNEval,
    FasterRCNNModel,
    FasterRCNNOptimizer,
    FasterRCNNTrain,
)


def _described(section, key: str) -> str:
    return section.model_fields[key].description


class MaskRCNNModel(FasterRCNNModel):
    """Input, anchors, proposals, sampling, heads, loss."""

    bodies: ClassVar[Dict[str, tuple]] = {"mask_rcnn_resnet50": ("resnet", 50)}

    mask_roi_size: int = Field(14, ge=1, description="bins per side of a RoI's features for the mask head, whose masks "
                               "have twice as many")
    rcnn_mask_out_channels: int = Field(256, ge=1, description="width of the mask head")
    rcnn_loss_mask_fb_weight: float = Field(1.0, ge=0, description="factor of the mask loss")
    checkpoint_filter_list: List[str] = Field(
        ["rcnn_cls.fpn_cls.cls_scores", "rcnn_cls.fpn_cls.reg_scores", "rcnn_mask.fpn_mask.mask_conv6"],
        description=_described(FasterRCNNModel, "checkpoint_filter_list"))


class MaskRCNNTrain(FasterRCNNTrain):
    """The zoo's batch and epochs."""

    keep_checkpoint_max: int = Field(12, ge=1, description=_described(FasterRCNNTrain, "keep_checkpoint_max"))


class MaskRCNNOptimizer(FasterRCNNOptimizer):
    """Momentum, which is what the zoo trains with although its README says SGD, with warm-up."""

    opt_type: Literal["sgd", "momentum", "adam"] = Field(
        "momentum", description=_described(FasterRCNNOptimizer, "opt_type"))
    weight_decay: float = Field(1e-4, ge=0, description=_described(FasterRCNNOptimizer, "weight_decay"))
    loss_scale: float = Field(1, gt=0, description=_described(FasterRCNNOptimizer, "loss_scale"))
    base_lr: float = Field(0.02, gt=0, description=_described(FasterRCNNOptimizer, "base_lr"))
    warmup_ratio: float = Field(1 / 3, ge=0, le=1, description=_described(FasterRCNNOptimizer, "warmup_ratio"))


class MaskRCNNEval(FasterRCNNEval):
    """Which of the network's boxes are detections, and which pixels are theirs."""

    mask_thr_binary: float = Field(0.5, ge=0, le=1, description="mask values above it belong to the object")


class MaskRCNNConfig(FasterRCNNConfig):
    """All settings of one Mask R-CNN run."""

    model: MaskRCNNModel
    data: FasterRCNNData = Field(default_factory=FasterRCNNData)
    train: MaskRCNNTrain = Field(default_factory=MaskRCNNTrain)
    optimizer: MaskRCNNOptimizer = Field(default_factory=MaskRCNNOptimizer)
    eval: MaskRCNNEval = Field(default_factory=MaskRCNNEval)

    dead_in_old_files: ClassVar[Dict[str, str]] = {
        **FasterRCNNConfig.dead_in_old_files,
        **{key: "one of four places of a checkpoint; give --model_path" for key in (
            "checkpoint_file", "checkpoint_path", "ckpt_file", "ckpt_file_local", "ckpt_path")},
        "ann_file": "is instances_set",
        "export_input_type": "exports take float32",
        "learning_rate": "was never read", "lr": "was never read; the rate is base_lr",
        "mask_shape": "is twice mask_roi_size",
        "max_instance_count": "is num_gts",
    }
