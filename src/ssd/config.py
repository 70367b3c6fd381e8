"""Settings of the SSD family; the defaults are the zoo's ssd300 with MobileNetV2 on COCO."""
import os
from typing import ClassVar, List, Literal, Optional

import numpy as np
from pydantic import Field, field_validator, model_validator

from src.backbones.table import Backbone, find_backbone
from src.ops.schedule import WARM_UP, scaled_to_batch, warmup_cosine
from src.settings.config import Config
from src.settings.schema import DataSection, EvalSection, ModelSection, OptimizerSection, above_zero, described
from src.settings.translation import OldKeys, Translation
from src.ssd.variants import VARIANTS, Variant


class SSDModel(ModelSection):
    """Input, backbone, feature levels, priors, matching, loss."""

    img_shape: List[int] = Field(
        [300, 300], min_length=2, max_length=2, description="size of the network input in pixels: height, width")
    steps: Optional[List[float]] = Field(None, description="distance between the centres of priors, in input pixels, "
                                         "per level; none = derived from img_shape")
    num_default: List[int] = Field(
        [3, 6, 6, 6, 6, 6], min_length=2, description="number of priors per cell, for each level")
    extras_in_channels: List[int] = Field(
        [256, 576, 1280, 512, 256, 256], description="channels of the map that each level is made from; not read for "
        "the backbone's own levels, which come first")
    extras_out_channels: List[int] = Field(
        [576, 1280, 512, 256, 256, 128], description="channels of each level's map")
    extras_strides: List[int] = Field(
        [1, 1, 2, 2, 2, 2], description="stride of the layer that makes each level's map; 1 for the backbone's own; "
        "ssd_vgg16 and the feature pyramids have 2 only")
    extras_ratio: List[float] = Field(
        [0.2, 0.2, 0.2, 0.25, 0.5, 0.25], description="MobileNetV2: channels of each level's hidden convolution as a "
        "fraction of its input channels")
    num_addition_layers: int = Field(
        4, ge=0, description="FPN: number of convolutions before the predictor, which all levels share")
    use_anchor_generator: bool = Field(
        False, description="FPN: priors of two sizes per octave and three aspect ratios, as in RetinaNet")
    min_scale: float = Field(
        0.2, gt=0, le=1, description="side of the first level's priors as a fraction of the input's, above 0 to 1")
    max_scale: float = Field(
        0.95, gt=0, le=1, description="side of the last level's priors as a fraction of the input's, above 0 to 1")
    default_box_scales: Optional[List[float]] = Field(
        None, description="sides of the priors as fractions of the input's, one per level and one more; none = evenly "
        "from min_scale to max_scale, then 1")
    aspect_ratios: List[List[float]] = Field(
        [[], [2, 3], [2, 3], [2, 3], [2, 3], [2, 3]], description="aspect ratios of the priors for each level; each "
        "is used with its inverse")
    prior_scaling: List[float] = Field(
        [0.1, 0.2], min_length=2, max_length=2, description="factors of the centre and of the size in the encoding of "
        "boxes (the SSD paper's variances)")
    match_threshold: float = Field(
        0.5, ge=0, le=1, description="IoU with an object above which a prior is positive, 0 to 1")
    gamma: float = Field(2.0, ge=0, description="exponent of the focal loss")
    alpha: float = Field(
        0.75, ge=0, le=1, description="weight of positive targets in the focal loss, 0 to 1; negative ones have 1 - "
        "alpha")
    background_loss: bool = Field(
        True, description="the focal loss has a column for background, as in the zoo; set it to false for small data "
        "sets")
    initial_score: float = Field(
        0.5, gt=0, lt=1, description="score of every class before training, 0 to 1; the zoo has 0.5, 0.01 keeps the "
        "first steps calm")
    initial_weights: Literal["zoo", "he"] = Field(
        "zoo", description="randomly initialised convolutions: zoo = standard deviation 0.02, he = such that maps keep "
        "their variance (He et al. 2015), except in the last layers")
    ssd_vgg_bn: bool = Field(False, description="VGG16: batch normalisation in the backbone")
    vgg_bias: bool = Field(
        False, description="VGG16: biases in the convolutions of the backbone; weights from PyTorch have them, the "
        "zoo's do not")
    vgg_extra_relu: bool = Field(
        False, description="VGG16: ReLU after fc6 and every later convolution, as in the paper; the zoo's checkpoints "
        "need false")
    ssd_style: Literal["zoo", "torchvision"] = Field(
        "zoo", description="VGG16: predictors, scores, overlaps and resizing as in the zoo, or as in torchvision's "
        "ssd300_vgg16, whose weights need it and which cannot be trained here")
    feature_extractor_base_param: Optional[str] = Field(
        None, description="ImageNet checkpoint that the backbone starts from; none = start without one")
    checkpoint_filter_list: List[str] = Field(
        ["multi_cls_layers"], description="beginnings of the parameter names, the zoo's or ours, "
        "that filter_weight does not load: those that depend on the classes")

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
        if not self.variant.fpn:
            names += ("extras_strides", "extras_ratio")
        if not self.use_anchor_generator:
            names += ("aspect_ratios",)
        counts = {name: len(getattr(self, name)) for name in names}
        if self.default_box_scales:
            counts["default_box_scales less 1"] = len(self.default_box_scales) - 1
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(f"the lists with one entry per level differ in length: {listed}")
        if self.ssd_style != "zoo" and self.model_name != "ssd_vgg16":
            raise ValueError(f"ssd_style {self.ssd_style} is of ssd_vgg16, not of {self.model_name}")
        check_layers(self)
        return self

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input in pixels."""
        height, width = self.img_shape
        return height, width

    @property
    def variant(self) -> Variant:
        """The parts that the model's name decides."""
        return VARIANTS[self.model_name]

    @property
    def backbone(self) -> Backbone:
        """The row in the table of backbones; the last variant.maps of its maps are used."""
        name = self.variant.backbone
        return find_backbone("vgg16_bn" if name == "vgg16" and self.ssd_vgg_bn else name)

    @property
    def extra_strides(self) -> list:
        """The stride of each layer behind the backbone's maps."""
        if self.variant.fixed_strides:
            return [2] * (len(self.num_default) - self.variant.maps)
        return self.extras_strides[self.variant.maps:]


def check_layers(model: SSDModel) -> None:
    """Raises ValueError if the lists of channels and strides do not describe a chain of layers."""
    maps, given, made = model.variant.maps, model.extras_in_channels, model.extras_out_channels
    own = list(model.backbone.channels[-maps:])
    if model.variant.fpn and (len(model.num_default) < maps or len(set(model.num_default)) > 1):
        raise ValueError(f"num_default {model.num_default}: {model.model_name} has at least {maps} levels, which share "
                         "one predictor and need the same number")
    if model.variant.fpn and len(set(made)) > 1:
        raise ValueError(f"extras_out_channels {made}: all levels of {model.model_name} share one predictor and need "
                         "the same number")
    if not model.variant.fpn and made[:maps] != own:
        raise ValueError(f"extras_out_channels {made}: the first {maps} maps come from the backbone of "
                         f"{model.model_name} and have {own} channels")
    if given[maps:] != made[maps - 1:-1]:
        raise ValueError(f"extras_in_channels {given}: from level {maps} on each is the number before it in "
                         f"extras_out_channels, {made[maps - 1:-1]}")
    strides = model.extras_strides
    if strides[:2] != [1, 1]:
        raise ValueError(f"extras_strides {strides}: the first two maps come from the backbone, and have 1")
    if model.variant.fixed_strides and set(strides[2:]) - {2}:
        raise ValueError(f"extras_strides {strides}: the layers of {model.model_name} have 2 from the third level on; "
                         "others can be given to ssd300 and ssd_mobilenet_v1")


class SSDData(DataSection):
    """SSD's training augmentation."""

    mean: List[float] = Field(
        [0.485, 0.456, 0.406], min_length=3, max_length=3, description="mean of the input: red, green, blue, from 0 "
        "to 1")
    std: List[float] = Field([0.229, 0.224, 0.225], min_length=3, max_length=3,
                             description="standard deviation of the input: red, green, blue, from 0 to 1")
    flip_prob: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip, 0 to 1")
    color_jitter: List[float] = Field(
        [0.4, 0.4, 0.4], min_length=3, max_length=3, description="largest change of brightness, contrast and "
        "saturation, as a fraction; 0 = off")
    crop_tries: int = Field(50, ge=0, description="number of attempts to crop by crop_rule; 0 = no crop")
    crop_rule: Literal["zoo", "visible"] = Field(
        "zoo", description="crops that are refused: visible = those that leave an object less than a randomly drawn "
        "fraction of its area; zoo = by the IoU of crop and objects, so that a single object may be cut anywhere")
    zoom_out: float = Field(
        1.0, ge=1, description="largest side of the canvas that half of the images are put on, as a factor of the "
        "image's, so that objects get smaller; 1 = off, as in the zoo")

    _above_zero = field_validator("std")(above_zero)


class SSDOptimizer(OptimizerSection):
    """Momentum with linear warm-up and a cosine learning rate."""

    lr: float = Field(0.05, gt=0, description="learning rate after the warm-up")
    lr_init: float = Field(0.001, ge=0, description="learning rate of the first step")
    lr_end_rate: float = Field(0.001, ge=0, description="learning rate of the last step as a fraction of lr")
    warmup_epochs: float = Field(
        2, ge=0, description="epochs in which the learning rate rises linearly from lr_init to lr")
    weight_decay: float = Field(0.00015, ge=0, description=described(OptimizerSection, "weight_decay"))

    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:
        lr = scaled_to_batch(self.lr, global_batch, self.base_batch_size)
        return warmup_cosine(lr, min(self.lr_init, lr), lr * self.lr_end_rate,
                             int(self.warmup_epochs * steps_per_epoch), epochs * steps_per_epoch)

    def schedule_for(self, epochs: int, steps_per_epoch: int) -> dict:  # noqa: ARG002 (for other families)
        return {"warmup_epochs": round(WARM_UP * epochs, 2)}


class SSDEval(EvalSection):
    """Which boxes are detections."""

    nms_threshold: float = Field(
        0.6, ge=0, le=1, description="IoU above which the box with the lower score is dropped, 0 to 1")
    min_score: float = Field(0.1, ge=0, le=1, description="least score of a detection, 0 to 1")
    nms_candidates: Optional[int] = Field(
        None, ge=1, description="boxes of each class that go into NMS, those with the highest scores; none = all")
    max_boxes: int = Field(100, ge=1, description="largest number of detections per class")
    max_per_image: Optional[int] = Field(
        100, ge=1, description="largest number of detections per image, those with the highest scores; none = no "
        "limit, as in the zoo")


class SSDConfig(Config):
    """All settings of one SSD run."""

    model: SSDModel
    data: SSDData = Field(default_factory=SSDData)
    optimizer: SSDOptimizer = Field(default_factory=SSDOptimizer)
    eval: SSDEval = Field(default_factory=SSDEval)

    old_keys: ClassVar[OldKeys] = OldKeys({"checkpoint_path": "a folder that the zoo never read"})

    @classmethod
    def meant_by_the_zoo(cls, file: Translation, flags: Translation, old_file: bool) -> dict:
        """data_path is joined with the paths to data if it exists; otherwise it is ModelArts' or its authors'."""
        given = {**(file.values if old_file else {}), **flags.values}
        folder = given.get("data_path")
        if folder is None or not os.path.isdir(str(folder.value)):
            return {}
        joined = {key: os.path.join(str(folder.value), str(given[key].value))
                  for key in ("coco_root", "voc_root", "mindrecord_dir") if key in given and given[key].value}
        return {key: path for key, path in joined.items() if path != given[key].value}
