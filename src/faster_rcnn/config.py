"""Settings of the Faster R-CNN family; the defaults are the zoo's with ResNet-50 on COCO."""
from typing import ClassVar, Dict, List, Literal, Optional

import numpy as np
from pydantic import Field, field_validator, model_validator

from src.backbones.depths import RESNET_BLOCKS
from src.backbones.table import Backbone, find_backbone
from src.errors import ConfigError
from src.faster_rcnn.box_styles import BOX_STYLES, BoxStyle
from src.ops.schedule import WARM_UP, multi_step, scaled_to_batch, warmup_cosine
from src.settings.config import Config
from src.settings.schema import (
    DataSection,
    EvalSection,
    ModelSection,
    OptimizerSection,
    TrainSection,
    above_zero,
    described,
)
from src.settings.translation import OldKeys, Translation

BACKBONES = {  # model name -> row of src/backbones/table.py
    "faster_rcnn_resnet50": "resnet50",
    "faster_rcnn_resnet101": "resnet101",
    "faster_rcnn_resnet152": "resnet152",
    "faster_rcnn_res2net50": "res2net50",
    "faster_rcnn_res2net101": "res2net101",
    "faster_rcnn_res2net152": "res2net152",
}
STRIDES = (4, 8, 16, 32, 64)  # of the pyramid's levels
LARGEST_BODY_STRIDE = 32


class FasterRCNNModel(ModelSection):
    """Input, anchors, proposals, sampling, heads, loss."""

    backbones: ClassVar[Dict[str, str]] = BACKBONES

    img_width: int = Field(1280, ge=64, description="width of the network input in pixels, a multiple of 32")
    img_height: int = Field(768, ge=64, description="height of the network input in pixels, a multiple of 32")
    backbone_style: Literal["zoo", "pytorch", "mindcv", "caffe"] = Field(  # type: ignore[assignment]  # one more
        "zoo", description=f"{described(ModelSection, 'backbone_style')}; caffe is pytorch with the stride of a block "
        "on its first convolution (detectron2's ResNets need it)")
    box_style: Literal["zoo", "torchvision", "mmdet", "detectron2"] = Field(
        "zoo", description="box conventions of the library that trained the weights: anchors, ends of boxes, resizing")
    feature_extractor_base_param: Optional[str] = Field(
        None, description="ImageNet checkpoint that the backbone starts from; none = start without one")
    frozen_body: Optional[bool] = Field(
        None, description="do not train the stem, the first stage and the batch statistics of the backbone, as in the "
        "zoo; none = only if training starts from a checkpoint")
    stem_batch_statistics: bool = Field(
        False, description="Res2Net: the first two normalisation layers use the statistics of the image itself, as in "
        "the zoo by mistake; its checkpoints need what they were trained with")
    fpn_out_channels: int = Field(256, ge=1, description="channels of the feature pyramid's levels")
    anchor_scales: List[float] = Field(
        [8], min_length=1, description="sides of the anchors as factors of the level's stride")
    anchor_ratios: List[float] = Field(
        [0.5, 1.0, 2.0], min_length=1, description="aspect ratios of the anchors, height / width")
    rpn_target_stds: List[float] = Field(
        [1.0, 1.0, 1.0, 1.0], min_length=4, max_length=4, description="divisors of the anchors' box deltas dx, dy, "
        "dw, dh")
    pos_iou_thr: float = Field(0.7, gt=0, le=1, description="least IoU with an object of a positive anchor")
    neg_iou_thr: float = Field(0.3, gt=0, le=1, description="IoU with every object below which an anchor is negative")
    min_pos_iou: float = Field(
        0.3, gt=0, le=1, description="IoU with an object from which on its best anchor is positive, even below "
        "pos_iou_thr")
    num_expected_pos: int = Field(128, ge=1, description="largest number of positive anchors sampled per image")
    num_expected_neg: int = Field(256, ge=1, description="number of anchors sampled per image, positive ones included")
    rpn_proposal_nms_pre: int = Field(2000, ge=1, description="training: boxes per level that go into NMS")
    rpn_proposal_max_num: int = Field(2000, ge=1, description="training: number of proposals per image")
    rpn_proposal_nms_thr: float = Field(
        0.7, ge=0, le=1, description="training: IoU above which NMS drops the proposal with the lower score")
    rpn_nms_pre: int = Field(1000, ge=1, description="inference: boxes per level that go into NMS")
    rpn_max_num: int = Field(1000, ge=1, description="inference: number of proposals per image")
    rpn_nms_thr: float = Field(
        0.7, ge=0, le=1, description="inference: IoU above which NMS drops the proposal with the lower score")
    num_gts: int = Field(
        128, ge=1, description="largest number of objects per image for the box head; of more objects a random subset "
        "of this size is used")
    pos_iou_thr_stage2: float = Field(0.5, gt=0, le=1, description="least IoU with an object of a positive proposal")
    neg_iou_thr_stage2: float = Field(
        0.5, gt=0, le=1, description="IoU with every object below which a proposal is negative")
    num_expected_pos_stage2: int = Field(
        128, ge=1, description="largest number of positive proposals sampled per image")
    num_expected_neg_stage2: int = Field(
        512, ge=1, description="number of proposals sampled per image, positive ones included")
    roi_size: int = Field(7, ge=1, description="side of the features of a RoI, in bins")
    roi_align_finest_scale: float = Field(
        56, gt=0, description="RoIs smaller than twice this side, in pixels, are pooled from the finest level")
    rcnn_fc_out_channels: int = Field(1024, ge=1, description="channels of the two hidden layers of the box head")
    rcnn_target_stds: List[float] = Field(
        [0.1, 0.1, 0.2, 0.2], min_length=4, max_length=4, description="divisors of the proposals' box deltas dx, dy, "
        "dw, dh")
    without_bg_loss: bool = Field(
        False, description="the box head predicts no box for background, as in the zoo's later revision; the shapes "
        "of checkpoints differ")
    rpn_loss_cls_weight: float = Field(1.0, ge=0, description="weight of the anchors' classification loss")
    rpn_loss_reg_weight: float = Field(1.0, ge=0, description="weight of the anchors' box loss")
    rcnn_loss_cls_weight: float = Field(1.0, ge=0, description="weight of the box head's classification loss")
    rcnn_loss_reg_weight: float = Field(1.0, ge=0, description="weight of the box head's box loss")
    checkpoint_filter_list: List[str] = Field(
        ["rcnn.cls_scores", "rcnn.reg_scores"], description="beginnings of the parameter names, the zoo's or ours, "
        "that filter_weight does not load")

    @field_validator("img_width", "img_height")
    @classmethod
    def _multiple_of_the_stride(cls, value):
        if value % LARGEST_BODY_STRIDE:
            raise ValueError(f"{value} is not a multiple of {LARGEST_BODY_STRIDE}; the nearest is "
                             f"{max(1, round(value / LARGEST_BODY_STRIDE)) * LARGEST_BODY_STRIDE}")
        return value

    _above_zero = field_validator("anchor_scales", "anchor_ratios", "rpn_target_stds", "rcnn_target_stds")(above_zero)

    @model_validator(mode="after")
    def _caffe_is_a_resnet(self):
        if self.backbone_style == "caffe" and not self.backbone_name.startswith("resnet"):
            raise ValueError(f"backbone_style caffe is for ResNets, {self.model_name} has a {self.backbone_name}")
        return self

    @property
    def backbone_name(self) -> str:
        return self.backbones[self.model_name]

    @property
    def backbone(self) -> Backbone:
        """Its row in the table of backbones."""
        return find_backbone(self.backbone_name)

    @property
    def padded_on_every_side(self) -> bool:
        """Of the backbone's strided layers; the zoo pads its Res2Nets right and bottom only."""
        return self.pads_every_side or not self.backbone_name.startswith("res2net")

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input in pixels."""
        return (self.img_height, self.img_width)

    @property
    def style(self) -> BoxStyle:
        """The BoxStyle that box_style names."""
        return BOX_STYLES[self.box_style]

    @property
    def anchors_per_cell(self) -> int:
        return len(self.anchor_scales) * len(self.anchor_ratios)


class FasterRCNNData(DataSection):
    """Faster R-CNN's training augmentation."""

    keep_ratio: bool = Field(
        True, description="keep the aspect ratio of the image when it is resized, and pad it to the input size")
    resize_sides: Optional[List[int]] = Field(
        None, min_length=2, max_length=2, description="with keep_ratio: length in pixels of the shorter side after "
        "resizing, and limit of the longer one; none = as large as the input allows")
    flip_ratio: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip, 0 to 1")
    expand_ratio: float = Field(
        1.0, ge=0, le=1, description="probability of attempting the expand augmentation (canvas up to 4x each side); "
        "half of the attempts expand, as in the zoo; 0 = off")


class FasterRCNNTrain(TrainSection):
    """Length of the training, start weights, checkpoints, evaluation while training."""

    epoch_size: int = Field(12, ge=1, description=described(TrainSection, "epoch_size"))
    batch_size: int = Field(2, ge=1, description=described(TrainSection, "batch_size"))
    save_checkpoint_epochs: int = Field(
        1, ge=1, description=described(TrainSection, "save_checkpoint_epochs"))


class FasterRCNNOptimizer(OptimizerSection):
    """SGD with momentum, warm-up and a falling learning rate."""

    opt_type: Literal["sgd", "momentum", "adam"] = Field(  # type: ignore[assignment]  # other choices on purpose
        "sgd", description="optimizer: sgd and momentum are the same, adam has decoupled weight decay")
    momentum: float = Field(0.91, ge=0, lt=1, description=described(OptimizerSection, "momentum"))
    weight_decay: float = Field(1e-5, ge=0, description=described(OptimizerSection, "weight_decay"))
    loss_scale: float = Field(256, gt=0, description=described(OptimizerSection, "loss_scale"))
    base_batch_size: Optional[int] = Field(
        16, ge=1, description=described(OptimizerSection, "base_batch_size"))
    base_lr: float = Field(
        0.04, gt=0, description="learning rate after the warm-up, for base_batch_size images per step")
    lr_type: Literal["cosine", "dynamic", "multistep"] = Field(
        "cosine", description="learning rate after the warm-up: cosine (the zoo calls it dynamic), or multistep")
    warmup_step: int = Field(500, ge=0, description="steps in which the learning rate rises linearly")
    warmup_ratio: float = Field(
        0.0625, ge=0, le=1, description="cosine: learning rate of the first step as a fraction of base_lr; multistep "
        "starts from 0")
    milestones: List[int] = Field(
        [8, 11], description="multistep: epochs after which the learning rate is divided by 10")

    @property
    def lr(self) -> float:
        """base_lr under the name that the other families use."""
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

    def schedule_for(self, epochs: int, steps_per_epoch: int) -> dict:
        settings: dict = {"warmup_step": round(WARM_UP * epochs * steps_per_epoch)}
        if self.lr_type == "multistep":
            settings["milestones"] = [round(epochs * 2 / 3), round(epochs * 11 / 12)]
        return settings


class FasterRCNNEval(EvalSection):
    """Which boxes are detections."""

    test_score_thr: float = Field(0.05, ge=0, le=1, description="least score of a detection, 0 to 1")
    test_iou_thr: float = Field(
        0.5, ge=0, le=1, description="IoU above which NMS drops the box of a class with the lower score, 0 to 1")
    test_nms_pre: int = Field(4000, ge=1, description="boxes per image, of all classes together, that go into NMS")
    test_max_per_img: int = Field(100, ge=1, description="largest number of detections per image")


# Further entries of the zoo's files; checked against every revision from r1.2 to master.
IGNORED = {
    **{key: "follows from the model_name" for key in (
        "backbone", "resnet_block", "res2net_block")},
    **{key: "is fpn_out_channels" for key in ("rpn_in_channels", "rcnn_in_channels", "roi_align_out_channels")},
    **{key: "follows from the input size and the other settings" for key in (
        "feature_shapes", "num_bboxes", "num_anchors", "roi_sample_num", "num_bboxes_stage2",
        "num_expected_total_stage2")},
    **{key: "the zoo never read it" for key in (
        "rcnn_num_layers", "rpn_head_use_sigmoid", "rpn_head_weight", "rpn_target_means", "sgd_momentum", "sgd_step")},
    **{key: "the zoo read it and did nothing with it" for key in (
        "rpn_min_bbox_min_size", "rpn_proposal_min_bbox_size", "rpn_nms_across_levels",
        "rpn_proposal_nms_across_levels", "rpn_proposal_nms_post", "rpn_nms_post")},
}
CHANNELS = ("resnet_in_channels", "res2net_in_channels"), ("resnet_out_channels", "res2net_out_channels")
FIXED = {
    **{key: (([64, 256, 512, 1024],), "channels of the backbone") for key in CHANNELS[0]},
    **{key: (([256, 512, 1024, 2048],), "channels of the backbone") for key in (*CHANNELS[1], "fpn_in_channels")},
    "activate_num_classes": ((2,), "objects and background"),
    "anchor_strides": ((list(STRIDES),), "strides of the pyramid"),
    "fpn_num_outs": ((5,), "levels of the pyramid"),
    "min_pos_iou_stage2": ((0.5,), "neg_iou_thr_stage2 and pos_iou_thr_stage2 decide alone"),
    "rcnn_target_means": (([0.0, 0.0, 0.0, 0.0],), "deltas are not shifted"),
    "roi_align_featmap_strides": ((list(STRIDES[:4]),), "strides of the pyramid"),
    "roi_layer": (({"type": "RoIAlign", "out_size": 7, "sample_num": 2},
                   {"type": "RoIAlign", "out_size": 7, "mask_out_size": 14, "sample_num": 2}),
                  "roi_size and mask_roi_size are the settings"),
    "rpn_cls_out_channels": ((1,), "one score per anchor"),
    "rpn_feat_channels": ((256,), "is fpn_out_channels"),
    "use_sigmoid_cls": ((True,), "one score per anchor"),
}


class FasterRCNNConfig(Config):
    """All settings of one Faster R-CNN run."""

    model: FasterRCNNModel
    data: FasterRCNNData = Field(default_factory=FasterRCNNData)
    train: FasterRCNNTrain = Field(default_factory=FasterRCNNTrain)
    optimizer: FasterRCNNOptimizer = Field(default_factory=FasterRCNNOptimizer)
    eval: FasterRCNNEval = Field(default_factory=FasterRCNNEval)

    old_keys: ClassVar[OldKeys] = OldKeys(IGNORED, FIXED, {"eval": ("checkpoint_path",), "export": ("ckpt_file",)})

    @classmethod
    def meant_by_the_zoo(cls, file: Translation, flags: Translation, old_file: bool) -> dict:
        if not old_file:
            return {}
        given = {**file.values, **flags.values}
        model = str(given["model_name"].value)
        check_depth(file, model, cls.model_fields["model"].annotation)
        meant: dict = {"stem_batch_statistics": True} if "res2net" in model else {}
        meant["base_batch_size"] = scaled_from(file, flags) if "without_bg_loss" in file.given else None
        return {key: value for key, value in meant.items() if key not in given}


def check_depth(file: Translation, model: str, section) -> None:
    """Raises ConfigError if the blocks in an old file differ from the model's."""
    blocks = RESNET_BLOCKS[int(section.backbones[model].removeprefix("res2net").removeprefix("resnet"))]
    for name in ("resnet_block", "res2net_block"):
        value = file.given.get(name, list(blocks))
        if value != list(blocks):
            raise ConfigError(f"{name} = {value} is not of {model}, which has {list(blocks)}; give the "
                              "file of this model, or the model of this file")


def scaled_from(file: Translation, flags: Translation) -> Optional[int]:
    """base_batch_size of the zoo's files from r1.9 on, whose train.py divided base_lr by 8 on one card, and only there.
    """
    def given(key: str, default):
        value = flags.typed(key) if key in flags.values else file.typed(key)
        return default if value is None else value

    return None if given("run_distribute", False) else 8 * given("batch_size", 2)
