"""Settings of the Faster R-CNN family; the defaults are the zoo's with ResNet-50 on COCO."""
from typing import ClassVar, Dict, List, Literal, Optional

import numpy as np
from pydantic import Field, field_validator

from src.faster_rcnn.box_styles import BOX_STYLES, BoxStyle
from src.ops.schedule import multi_step, scaled_to_batch, warmup_cosine
from src.settings.config import Config
from src.settings.schema import (
    DataSection,
    EvalSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
    above_zero,
)

BODIES = {  # model name -> kind and depth of its body
    "faster_rcnn_resnet50": ("resnet", 50),
    "faster_rcnn_resnet101": ("resnet", 101),
    "faster_rcnn_resnet152": ("resnet", 152),
    "faster_rcnn_res2net50": ("res2net", 50),
    "faster_rcnn_res2net101": ("res2net", 101),
    "faster_rcnn_res2net152": ("res2net", 152),
}
STRIDES = (4, 8, 16, 32, 64)  # of the pyramid's levels
LARGEST_BODY_STRIDE = 32


class FasterRCNNModel(ModelSection):
    """Input, anchors, proposals, sampling, heads, loss."""

    bodies: ClassVar[Dict[str, tuple]] = BODIES

    img_width: int = Field(1280, ge=64, description="width of the network input, a multiple of 32")
    img_height: int = Field(768, ge=64, description="height of the network input, a multiple of 32")
    box_style: Literal["zoo", "torchvision", "mmdet"] = Field(
        "zoo", description="where anchors lie and boxes end, and how pictures are resized: as in the library that the "
        "weights were trained with")
    feature_extractor_base_param: Optional[str] = Field(None, description="ImageNet checkpoint of the backbone; none "
                                                        "= start without one")
    frozen_body: Optional[bool] = Field(None, description="keep stem, first stage and all batch statistics of the "
                                        "backbone as they are, as in the zoo; none = when training starts from a "
                                        "checkpoint, since without one there is nothing to keep")
    stem_batch_statistics: bool = Field(False, description="Res2Net: the first two norms use the picture's own "
                                        "statistics, as in the zoo by mistake; its checkpoints need it to match")
    fpn_out_channels: int = Field(256, ge=1, description="channels of the pyramid's levels")
    anchor_scales: List[float] = Field([8], min_length=1, description="anchor sizes, as factors of the stride")
    anchor_ratios: List[float] = Field([0.5, 1.0, 2.0], min_length=1, description="anchor heights over widths")
    rpn_target_stds: List[float] = Field([1.0, 1.0, 1.0, 1.0], min_length=4, max_length=4,
                                         description="spread of the anchors' deltas dx, dy, dw, dh")
    pos_iou_thr: float = Field(0.7, gt=0, le=1, description="anchors: IoU from which on one is positive")
    neg_iou_thr: float = Field(0.3, gt=0, le=1, description="anchors: IoU below which one is negative")
    min_pos_iou: float = Field(0.3, gt=0, le=1, description="anchors: IoU from which on an object's best is positive")
    num_expected_pos: int = Field(128, ge=1, description="anchors: largest number of positive ones per picture")
    num_expected_neg: int = Field(256, ge=1, description="anchors: number per picture, positive ones included")
    rpn_proposal_nms_pre: int = Field(2000, ge=1, description="training: boxes per level that go into NMS")
    rpn_proposal_max_num: int = Field(2000, ge=1, description="training: proposals per picture")
    rpn_proposal_nms_thr: float = Field(0.7, ge=0, le=1, description="training: IoU above which NMS drops a proposal")
    rpn_nms_pre: int = Field(1000, ge=1, description="inference: boxes per level that go into NMS")
    rpn_max_num: int = Field(1000, ge=1, description="inference: proposals per picture")
    rpn_nms_thr: float = Field(0.7, ge=0, le=1, description="inference: IoU above which NMS drops a proposal")
    num_gts: int = Field(128, ge=1, description="objects per picture that the box head sees at once; of more, so "
                         "many are drawn")
    pos_iou_thr_stage2: float = Field(0.5, gt=0, le=1, description="proposals: IoU from which on one is positive")
    neg_iou_thr_stage2: float = Field(0.5, gt=0, le=1, description="proposals: IoU below which one is negative")
    num_expected_pos_stage2: int = Field(128, ge=1, description="proposals: largest number of positive ones")
    num_expected_neg_stage2: int = Field(512, ge=1, description="proposals: number per picture, positive ones included")
    roi_size: int = Field(7, ge=1, description="bins per side of a RoI's features")
    roi_align_finest_scale: float = Field(56, gt=0, description="RoIs below twice this side are looked up in the "
                                          "finest level")
    rcnn_fc_out_channels: int = Field(1024, ge=1, description="width of the box head's two hidden layers")
    rcnn_target_stds: List[float] = Field([0.1, 0.1, 0.2, 0.2], min_length=4, max_length=4,
                                          description="spread of the proposals' deltas dx, dy, dw, dh")
    without_bg_loss: bool = Field(False, description="no box deltas for background, as in the zoo's later revision; "
                                  "checkpoints of the two kinds differ")
    rpn_loss_cls_weight: float = Field(1.0, ge=0, description="factor of the anchors' classification loss")
    rpn_loss_reg_weight: float = Field(1.0, ge=0, description="factor of the anchors' box loss")
    rcnn_loss_cls_weight: float = Field(1.0, ge=0, description="factor of the box head's classification loss")
    rcnn_loss_reg_weight: float = Field(1.0, ge=0, description="factor of the box head's box loss")
    checkpoint_filter_list: List[str] = Field(
        ["rcnn.cls_scores", "rcnn.reg_scores"], description="parameter names that filter_weight leaves out")

    @field_validator("img_width", "img_height")
    @classmethod
    def _multiple_of_the_stride(cls, value):
        if value % LARGEST_BODY_STRIDE:
            raise ValueError(f"{value} is not a multiple of {LARGEST_BODY_STRIDE}; the nearest is "
                             f"{max(1, round(value / LARGEST_BODY_STRIDE)) * LARGEST_BODY_STRIDE}")
        return value

    _above_zero = field_validator("anchor_scales", "anchor_ratios", "rpn_target_stds", "rcnn_target_stds")(above_zero)

    @property
    def body(self) -> tuple:
        """Kind and depth."""
        return self.bodies[self.model_name]

    @property
    def image_size(self) -> tuple:
        """Of the network input: height, width."""
        return (self.img_height, self.img_width)

    @property
    def style(self) -> BoxStyle:
        """What box_style stands for."""
        return BOX_STYLES[self.box_style]

    @property
    def anchors_per_cell(self) -> int:
        return len(self.anchor_scales) * len(self.anchor_ratios)


class FasterRCNNData(DataSection):
    """Faster R-CNN's training augmentation."""

    keep_ratio: bool = Field(True, description="resize with the picture's own ratio and fill up the canvas")
    resize_sides: Optional[List[int]] = Field(
        None, min_length=2, max_length=2, description="with keep_ratio: length that the shorter side gets, and the one "
        "that the longer side must not exceed; none = as large as the canvas allows")
    flip_ratio: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    expand_ratio: float = Field(1.0, ge=0, le=1, description="probability of trying to put the picture on a canvas of "
                                "up to 4 times its sides; every other try does; 0 = off")


class FasterRCNNTrain(TrainSection):
    """The zoo's batch and epochs."""

    epoch_size: int = Field(12, ge=1, description=TrainSection.model_fields["epoch_size"].description)
    batch_size: int = Field(2, ge=1, description=TrainSection.model_fields["batch_size"].description)
    save_checkpoint_epochs: int = Field(
        1, ge=1, description=TrainSection.model_fields["save_checkpoint_epochs"].description)


class FasterRCNNOptimizer(OptimizerSection):
    """SGD with warm-up."""

    opt_type: Literal["sgd", "momentum", "adam"] = Field(
        "sgd", description="sgd, which is the same as momentum, or Adam with decoupled decay")
    momentum: float = Field(0.91, ge=0, lt=1, description=OptimizerSection.model_fields["momentum"].description)
    weight_decay: float = Field(1e-5, ge=0, description=OptimizerSection.model_fields["weight_decay"].description)
    loss_scale: float = Field(256, gt=0, description=OptimizerSection.model_fields["loss_scale"].description)
    base_batch_size: Optional[int] = Field(
        16, ge=1, description=OptimizerSection.model_fields["base_batch_size"].description)
    base_lr: float = Field(0.04, gt=0, description="learning rate after the warm-up, for base_batch_size pictures")
    lr_type: Literal["cosine", "dynamic", "multistep"] = Field(
        "cosine", description="course of the learning rate; the zoo calls cosine dynamic")
    warmup_step: int = Field(500, ge=0, description="steps of linear warm-up")
    warmup_ratio: float = Field(0.0625, ge=0, le=1, description="cosine: first learning rate, as a part of base_lr; "
                                "multistep starts from 0")
    milestones: List[int] = Field([8, 11], description="multistep: epochs after which the rate is divided by ten")

    @property
    def lr(self) -> float:
        """base_lr by the name it has in the other families."""
        return self.base_lr

    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:
        lr, total_steps = scaled_to_batch(self.lr, global_batch, self.base_batch_size), epochs * steps_per_epoch
        if self.lr_type == "multistep":
            return multi_step(lr, self.warmup_step, [epoch * steps_per_epoch for epoch in self.milestones], 10,
                              total_steps)
        # The zoo's curve is stretched: it would reach 0 one epoch and the warm-up after the end.
        curve = warmup_cosine(lr, lr * self.warmup_ratio, 0, self.warmup_step,
                              total_steps + steps_per_epoch + self.warmup_step)
        return curve[:total_steps]


class FasterRCNNEval(EvalSection):
    """Which of the network's boxes are detections."""

    test_score_thr: float = Field(0.05, ge=0, le=1, description="scores below are not detections")
    test_iou_thr: float = Field(0.5, ge=0, le=1, description="IoU above which the lower-scored box of a class is "
                                "dropped")
    test_nms_pre: int = Field(4000, ge=1, description="boxes of a picture, over all classes, that go into NMS")
    test_max_per_img: int = Field(100, ge=1, description="detections kept per picture")


class FasterRCNNConfig(Config):
    """All settings of one Faster R-CNN run."""

    model: FasterRCNNModel
    data: FasterRCNNData = Field(default_factory=FasterRCNNData)
    train: FasterRCNNTrain = Field(default_factory=FasterRCNNTrain)
    optimizer: FasterRCNNOptimizer = Field(default_factory=FasterRCNNOptimizer)
    eval: FasterRCNNEval = Field(default_factory=FasterRCNNEval)

    dead_in_old_files: ClassVar[Dict[str, str]] = {
        **{key: "follows from the model_name" for key in (
            "backbone", "resnet_block", "resnet_in_channels", "resnet_out_channels", "res2net_block",
            "res2net_in_channels", "res2net_out_channels", "fpn_in_channels", "fpn_num_outs", "rpn_in_channels",
            "rpn_feat_channels", "rcnn_in_channels", "rcnn_num_layers", "roi_align_out_channels", "anchor_strides",
            "roi_align_featmap_strides")},
        **{key: "follows from the input size and the other settings" for key in (
            "feature_shapes", "num_bboxes", "num_anchors", "roi_sample_num", "num_bboxes_stage2",
            "num_expected_total_stage2", "rpn_proposal_nms_post", "rpn_nms_post")},
        **{key: "was never read" for key in (
            "activate_num_classes", "min_pos_iou_stage2", "rpn_cls_out_channels", "rpn_head_use_sigmoid",
            "rpn_head_weight", "rpn_min_bbox_min_size", "rpn_nms_across_levels", "rpn_proposal_min_bbox_size",
            "rpn_proposal_nms_across_levels", "rpn_target_means", "rcnn_target_means", "sgd_momentum", "sgd_step",
            "use_sigmoid_cls", "checkpoint_path")},
        "roi_layer": "roi_size gives its number of bins, the number of samples is 2",
        "finetune": "--pre_trained with --filter_weight does it",
    }
