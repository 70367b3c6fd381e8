"""Settings of the Mask R-CNN family: Faster R-CNN's with other defaults, and the mask head's."""
from typing import ClassVar, Dict, List, Literal

from pydantic import Field

from src.faster_rcnn.config import (
    FIXED,
    IGNORED,
    FasterRCNNConfig,
    FasterRCNNData,
    FasterRCNNEval,
    FasterRCNNModel,
    FasterRCNNOptimizer,
    FasterRCNNTrain,
)
from src.settings.schema import described
from src.settings.translation import OldKeys


class MaskRCNNModel(FasterRCNNModel):
    """Input, anchors, proposals, sampling, heads, loss."""

    backbones: ClassVar[Dict[str, str]] = {
        "mask_rcnn_resnet50": "resnet50", "mask_rcnn_resnet101": "resnet101"}

    mask_roi_size: int = Field(
        14, ge=1, description="side of the features of a RoI for the mask head, in bins; its masks have twice as many "
        "pixels per side")
    rcnn_mask_out_channels: int = Field(256, ge=1, description="channels of the mask head's hidden layers")
    rcnn_loss_mask_fb_weight: float = Field(1.0, ge=0, description="weight of the mask loss")
    checkpoint_filter_list: List[str] = Field(
        ["rcnn_cls.fpn_cls.cls_scores", "rcnn_cls.fpn_cls.reg_scores", "rcnn_mask.fpn_mask.mask_conv6"],
        description=described(FasterRCNNModel, "checkpoint_filter_list"))


class MaskRCNNTrain(FasterRCNNTrain):
    """Length of the training, start weights, checkpoints, evaluation while training."""

    keep_checkpoint_max: int = Field(12, ge=1, description=described(FasterRCNNTrain, "keep_checkpoint_max"))


class MaskRCNNOptimizer(FasterRCNNOptimizer):
    """Momentum with warm-up. The zoo trains with it, although its README says SGD."""

    opt_type: Literal["sgd", "momentum", "adam"] = Field(
        "momentum", description=described(FasterRCNNOptimizer, "opt_type"))
    weight_decay: float = Field(1e-4, ge=0, description=described(FasterRCNNOptimizer, "weight_decay"))
    loss_scale: float = Field(1, gt=0, description=described(FasterRCNNOptimizer, "loss_scale"))
    base_lr: float = Field(0.02, gt=0, description=described(FasterRCNNOptimizer, "base_lr"))
    warmup_ratio: float = Field(1 / 3, ge=0, le=1, description=described(FasterRCNNOptimizer, "warmup_ratio"))


class MaskRCNNEval(FasterRCNNEval):
    """Which boxes are detections, and which pixels belong to them."""

    mask_thr_binary: float = Field(
        0.5, ge=0, le=1, description="value of the mask above which a pixel belongs to the object, 0 to 1")


class MaskRCNNConfig(FasterRCNNConfig):
    """All settings of one Mask R-CNN run."""

    model: MaskRCNNModel
    data: FasterRCNNData = Field(default_factory=FasterRCNNData)
    train: MaskRCNNTrain = Field(default_factory=MaskRCNNTrain)
    optimizer: MaskRCNNOptimizer = Field(default_factory=MaskRCNNOptimizer)
    eval: MaskRCNNEval = Field(default_factory=MaskRCNNEval)

    old_keys: ClassVar[OldKeys] = OldKeys(
        {**IGNORED, "export_input_type": "exports take float32", "learning_rate": "the zoo never read it",
         "lr": "the zoo never read it; the learning rate is base_lr", "max_instance_count": "is num_gts"},
        {**FIXED, "mask_shape": (([28, 28],), "is twice mask_roi_size")},
        {"eval": ("checkpoint_path",), "export": ("ckpt_file_local", "ckpt_file")})
