"""Settings of the SSD family; the defaults are the zoo's ssd300 with MobileNetV2 on COCO."""
from typing import ClassVar, Dict, List, Literal, Optional

import numpy as np
from pydantic import Field, field_validator, model_validator

from src.ops.schedule import scaled_to_batch, warmup_cosine
from src.settings.config import Config
from src.settings.schema import DataSection, EvalSection, ModelSection, OptimizerSection, above_zero


class SSDModel(ModelSection):
    """Backbone, feature levels, default boxes, matching, loss."""

    img_shape: List[int] = Field([300, 300], min_length=2, max_length=2, description="network input, height, width")
    steps: Optional[List[float]] = Field(None, description="distance between the centres of priors, in input pixels, "
                                         "per level; none = derived from img_shape")
    num_default: List[int] = Field([3, 6, 6, 6, 6, 6], min_length=2, description="default boxes per cell and level")
    extras_in_channels: List[int] = Field([256, 576, 1280, 512, 256, 256], description="input channels per level")
    extras_out_channels: List[int] = Field([576, 1280, 512, 256, 256, 128], description="output channels per level")
    extras_strides: List[int] = Field([1, 1, 2, 2, 2, 2], description="stride per level")
    extras_ratio: List[float] = Field([0.2, 0.2, 0.2, 0.25, 0.5, 0.25], description="hidden channel ratio per level")
    num_addition_layers: int = Field(4, ge=0, description="FPN: shared convolutions before the predictor")
    use_anchor_generator: bool = Field(False, description="FPN: default boxes by octave scales")
    min_scale: float = Field(0.2, gt=0, le=1, description="smallest default box, as a part of the input")
    max_scale: float = Field(0.95, gt=0, le=1, description="largest default box, as a part of the input")
    default_box_scales: Optional[List[float]] = Field(
        None, description="default boxes per level, and one more, as parts of the input; none = evenly from min_scale "
        "to max_scale, then 1")
    aspect_ratios: List[List[float]] = Field(
        [[], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]], description="aspect ratios per level, each with its inverse")
    prior_scaling: List[float] = Field([0.1, 0.2], min_length=2, max_length=2,
                                       description="box encoding: factors of centre and size")
    match_threshold: float = Field(0.5, ge=0, le=1, description="IoU above which a default box is matched")
    gamma: float = Field(2.0, ge=0, description="focal loss: exponent")
    alpha: float = Field(0.75, ge=0, le=1, description="focal loss: weight of the positive term")
    background_loss: bool = Field(True, description="focal loss has a background column, as in the zoo; small data "
                                  "sets want false")
    initial_score: float = Field(0.5, gt=0, lt=1, description="score of every class before training; 0.5 in the zoo, "
                                 "0.01 starts quietly")
    ssd_vgg_bn: bool = Field(False, description="VGG16: batch norm in the backbone")
    vgg_bias: bool = Field(False, description="VGG16: biases in the backbone's convolutions; weights from PyTorch have "
                           "them, the zoo's have not")
    vgg_extra_relu: bool = Field(False, description="VGG16: ReLU after fc6 and every later convolution, as in the "
                                 "paper; false as in the zoo, which its checkpoints need")
    ssd_style: Literal["zoo", "torchvision"] = Field(
        "zoo", description="VGG16: predictors, scores, overlaps and resizing as in the zoo, or as in torchvision's "
        "ssd300_vgg16, whose weights need it; the latter cannot be trained here")
    feature_extractor_base_param: Optional[str] = Field(None, description="ImageNet checkpoint of the backbone; none "
                                                        "= start without one")
    checkpoint_filter_list: List[str] = Field(
        ["multi_loc_layers", "multi_cls_layers"], description="parameter names that filter_weight leaves out")

    @field_validator("img_shape", "steps", "default_box_scales", "num_default", "extras_in_channels",
                     "extras_out_channels", "extras_strides", "prior_scaling", "extras_ratio")
    @classmethod
    def _above_zero(cls, values):
        return values if values is None else above_zero(values)

    _ratios_above_zero = field_validator("aspect_ratios")(above_zero)

    @model_validator(mode="after")
    def _levels_agree(self):
        if self.min_scale > self.max_scale:
            raise ValueError(f"min_scale {self.min_scale} is above max_scale {self.max_scale}")
        names = ("num_default", "extras_in_channels", "extras_out_channels") + (("steps",) if self.steps else ())
        if not self.use_anchor_generator:
            names += ("extras_strides", "extras_ratio", "aspect_ratios")
        counts = {name: len(getattr(self, name)) for name in names}
        if self.default_box_scales:
            counts["default_box_scales less 1"] = len(self.default_box_scales) - 1
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(f"the lists with one entry per level differ in length: {listed}")
        if self.ssd_style != "zoo" and self.model_name != "ssd_vgg16":
            raise ValueError(f"ssd_style {self.ssd_style} is of ssd_vgg16, not of {self.model_name}")
        return self


class SSDData(DataSection):
    """SSD's training augmentation."""

    mean: List[float] = Field([0.485, 0.456, 0.406], min_length=3, max_length=3,
                              description="mean of the input: red, green, blue, from 0 to 1")
    std: List[float] = Field([0.229, 0.224, 0.225], min_length=3, max_length=3,
                             description="standard deviation of the input: red, green, blue, from 0 to 1")
    flip_prob: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip")
    color_jitter: List[float] = Field([0.4, 0.4, 0.4], min_length=3, max_length=3,
                                      description="largest change of brightness, contrast, saturation; 0 = off")
    crop_tries: int = Field(50, ge=0, description="attempts at an IoU-constrained crop; 0 = no crop")
    zoom_out: float = Field(1.0, ge=1, description="largest canvas that half of the pictures are put on, as a factor "
                            "of their sides, so that objects get smaller; 1 = off, as in the zoo")

    _above_zero = field_validator("std")(above_zero)


class SSDOptimizer(OptimizerSection):
    """Momentum with linear warm-up and cosine decay."""

    lr: float = Field(0.05, gt=0, description="learning rate after the warm-up")
    lr_init: float = Field(0.001, ge=0, description="learning rate of the first step")
    lr_end_rate: float = Field(0.001, ge=0, description="last learning rate, as a part of lr")
    warmup_epochs: float = Field(2, ge=0, description="epochs of linear warm-up")
    weight_decay: float = Field(0.00015, ge=0, description=OptimizerSection.model_fields["weight_decay"].description)

    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:
        lr = scaled_to_batch(self.lr, global_batch, self.base_batch_size)
        return warmup_cosine(lr, min(self.lr_init, lr), lr * self.lr_end_rate,
                             int(self.warmup_epochs * steps_per_epoch), epochs * steps_per_epoch)


class SSDEval(EvalSection):
    """Decoding of SSD's outputs."""

    nms_threshold: float = Field(0.6, ge=0, le=1, description="IoU above which the lower-scored box is dropped")
    min_score: float = Field(0.1, ge=0, le=1, description="scores below are not detections")
    nms_candidates: Optional[int] = Field(None, ge=1, description="boxes of a class that go into NMS, its best; none = "
                                          "all")
    max_boxes: int = Field(100, ge=1, description="detections kept per class")
    max_per_image: Optional[int] = Field(None, ge=1, description="detections kept per picture; none = no limit")


class SSDConfig(Config):
    """All settings of one SSD run."""

    model: SSDModel
    data: SSDData = Field(default_factory=SSDData)
    optimizer: SSDOptimizer = Field(default_factory=SSDOptimizer)
    eval: SSDEval = Field(default_factory=SSDEval)

    dead_in_old_files: ClassVar[Dict[str, str]] = {"checkpoint_path": "a folder that was never read"}
