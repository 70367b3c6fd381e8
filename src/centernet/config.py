"""Settings of the CenterNet family; the defaults are the zoo's on COCO, with the paper's up-sampling."""
from typing import ClassVar, List, Literal, Optional

import numpy as np
from pydantic import Field, field_validator

from src.backbones.table import Backbone, find_backbone
from src.ops.schedule import WARM_UP, multi_step, polynomial, scaled_to_batch
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

STRIDE = 4  # input pixels per cell of the maps
BACKBONES = {"centernet_resnet50": "resnet50", "centernet_resnet101": "resnet101"}


class CenterNetModel(ModelSection):
    """Up-sampling, heads, loss."""

    up_sampling: Literal["deformable", "plain"] = Field(
        "deformable", description="layer before each of the three up-convolutions: deformable = a 3x3 deformable "
        "convolution, as in the paper; plain = none, as in the zoo, whose checkpoints need it")
    head_conv: int = Field(64, ge=1, description="hidden channels of each of the three heads")
    hm_weight: float = Field(1.0, ge=0, description="weight of the heat map in the loss")
    wh_weight: float = Field(0.1, ge=0, description="weight of the sizes in the loss")
    off_weight: float = Field(1.0, ge=0, description="weight of the centre offsets in the loss")
    reg_loss: Literal["l1", "sl1"] = Field("l1", description="loss of sizes and offsets: l1, or sl1 = smooth L1")
    regression_norm: Literal["objects", "coordinates"] = Field(
        "objects", description="divisor of the loss of sizes and offsets: number of objects (paper, zoo), or of their "
        "coordinates, which are twice as many (the authors' code)")
    feature_extractor_base_param: Optional[str] = Field(
        None, description="ImageNet checkpoint that the backbone starts from; none = start without one")
    checkpoint_filter_list: List[str] = Field(
        ["hm_fn"], description="beginnings of the parameter names, the zoo's or ours, that "
        "filter_weight does not load: those that depend on the classes")

    @property
    def backbone_name(self) -> str:
        return BACKBONES[self.model_name]

    @property
    def backbone(self) -> Backbone:
        """Its row in the table of backbones."""
        return find_backbone(self.backbone_name)


class CenterNetData(DataSection):
    """CenterNet's input and training augmentation. Colours are blue, green, red, from 0 to 1."""

    input_res_train: List[int] = Field(
        [512, 512], min_length=2, max_length=2, description="size of the network input in training, in pixels: "
        "height, width; multiples of 32")
    max_objs: int = Field(
        128, ge=1, description="largest number of objects per image whose sizes and offsets are trained")
    rand_crop: bool = Field(
        True, description="random scale (0.6 to 1.3 of the longer side) and centre; false = shift and scale instead")
    shift: float = Field(
        0.1, ge=0, description="without rand_crop: standard deviation of the shift of the centre, as a fraction of "
        "the longer side; never more than twice as much")
    scale: float = Field(
        0.4, ge=0, lt=1, description="without rand_crop: standard deviation of the scale around 1, and its largest "
        "change")
    flip_prob: float = Field(0.5, ge=0, le=1, description="probability of a horizontal flip, 0 to 1")
    color_aug: bool = Field(True, description="random brightness, contrast, saturation and lighting")
    mean: List[float] = Field(
        [0.40789654, 0.44719302, 0.47026115], min_length=3, max_length=3, description="mean of the input: blue, "
        "green, red, from 0 to 1")
    std: List[float] = Field(
        [0.28863828, 0.27408164, 0.27809835], min_length=3, max_length=3, description="standard deviation of the "
        "input: blue, green, red, from 0 to 1")
    eig_val: List[float] = Field(
        [0.2141788, 0.01817699, 0.00341571], min_length=3, max_length=3, description="lighting: eigenvalues of the "
        "covariance of the colours")
    eig_vec: List[List[float]] = Field(
        [[-0.58752847, -0.69563484, 0.41340352], [-0.5832747, 0.00994535, -0.81221408], [-0.56089297, 0.71832671,
        0.41158938]], min_length=3, max_length=3,
        description="lighting: eigenvectors of the covariance of the colours, as columns")

    @field_validator("input_res_train")
    @classmethod
    def _whole_cells(cls, sides):
        return multiples_of_32(sides)

    _above_zero = field_validator("std")(above_zero)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input in training, in pixels."""
        height, width = self.input_res_train
        return height, width

    @field_validator("eig_vec")
    @classmethod
    def _square(cls, rows):
        if any(len(row) != 3 for row in rows):
            raise ValueError(f"{rows} has to hold three rows of three numbers")
        return rows


class CenterNetTrain(TrainSection):
    """Length of the training, start weights, checkpoints, evaluation while training."""

    epoch_size: int = Field(330, ge=1, description=described(TrainSection, "epoch_size"))
    seed: int = Field(317, ge=0, le=2**32 - 1, description=described(TrainSection, "seed"))


class CenterNetOptimizer(OptimizerSection):
    """Adam with warm-up and a learning rate that falls in steps or polynomially."""

    opt_type: Literal["momentum", "adam", "adam_l2"] = Field(
        "adam_l2", description=described(OptimizerSection, "opt_type"))
    lr: float = Field(0.00048, gt=0, description="learning rate after the warm-up")
    lr_type: Literal["MultiDecay", "PolyDecay"] = Field(
        "MultiDecay", description="learning rate after the warm-up: MultiDecay = divided at some epochs, PolyDecay = "
        "polynomial")
    warmup_steps: int = Field(2000, ge=0, description="steps in which the learning rate rises linearly from 0 to lr")
    multi_epochs: List[int] = Field(
        [290, 320], description="MultiDecay: epochs at which the learning rate is divided by factor")
    factor: float = Field(10.0, gt=0, description="MultiDecay: divisor of the learning rate")
    end_learning_rate: float = Field(5e-07, ge=0, description="PolyDecay: learning rate at the end of the run")
    power: float = Field(5.0, gt=0, description="PolyDecay: exponent of the polynomial")

    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:
        lr, total_steps = scaled_to_batch(self.lr, global_batch, self.base_batch_size), epochs * steps_per_epoch
        if self.lr_type == "PolyDecay":
            return polynomial(lr, self.end_learning_rate, self.power, self.warmup_steps, total_steps)
        return multi_step(lr, self.warmup_steps, [epoch * steps_per_epoch for epoch in self.multi_epochs], self.factor,
                          total_steps)

    def schedule_for(self, epochs: int, steps_per_epoch: int) -> dict:
        settings: dict = {"warmup_steps": round(WARM_UP * epochs * steps_per_epoch)}
        if self.lr_type == "MultiDecay":    # as 290 and 320 of 330 epochs
            settings["multi_epochs"] = [round(epochs * 0.88), round(epochs * 0.97)]
        return settings


class CenterNetEval(EvalSection):
    """Input sizes, scales and peaks in evaluation."""

    input_res_test: List[int] = Field(
        [680, 680], min_length=2, max_length=2, description="size of the network input in evaluation without keep_res "
        "and in exported models, in pixels: height, width; multiples of 4, at least 32")
    keep_res: bool = Field(
        True, description="evaluate images at their own size, padded to multiples of keep_res_multiple (each new size "
        "is compiled); false = input_res_test")
    keep_res_multiple: int = Field(
        128, ge=32, multiple_of=32, description="with keep_res: the sides of the input are multiples of this number of "
        "pixels; 128 in the zoo, 32 in the authors' ResNets")
    multi_scales: List[float] = Field(
        [1.0], min_length=1, description="factors by which an image is resized; the detections of all are merged")
    flip_test: bool = Field(False, description="average the maps of the image and its mirror image")
    soft_nms: bool = Field(True, description="lower the scores of overlapping boxes of one class")
    K: int = Field(100, ge=1, description="largest number of detections per image")
    peak_tolerance: float = Field(
        0.001, ge=0, lt=1, description="a cell is a peak if no neighbour is higher by more than this fraction; 0.001 "
        "in the zoo, 0 in the paper")

    @field_validator("input_res_test")
    @classmethod
    def _whole_grid(cls, sides):
        if any(side < 32 or side % 4 for side in sides):
            raise ValueError(f"{sides} has to hold multiples of 4 from 32 on")
        return sides

    _above_zero = field_validator("multi_scales")(above_zero)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input of exported models and without keep_res, in pixels."""
        height, width = self.input_res_test
        return height, width


def multiples_of_32(sides: List[int]) -> List[int]:
    """The sides of a network input; raises ValueError where the maps of the backbone would not fit into each other."""
    if any(side < 32 or side % 32 for side in sides):
        raise ValueError(f"{sides} has to hold multiples of 32")
    return sides


class CenterNetConfig(Config):
    """All settings of one CenterNet run."""

    model: CenterNetModel
    data: CenterNetData = Field(default_factory=CenterNetData)
    train: CenterNetTrain = Field(default_factory=CenterNetTrain)
    optimizer: CenterNetOptimizer = Field(default_factory=CenterNetOptimizer)
    eval: CenterNetEval = Field(default_factory=CenterNetEval)

    old_keys: ClassVar[OldKeys] = OldKeys(
        {"aug_rot": "there is no rotation", "rotate": "there is no rotation",
         "block_class": "belongs to the model_name",
         "norm_wh": "the zoo never read it", "color_list": "colours belong to the class index",
         "decay_filter": "biases, gamma and beta do not decay", "decay_filer": "biases, gamma and beta do not decay",
         "dense_hp": "the zoo never read it", "input_res": "exports take input_res_test",
         "label_path": "postprocess.py takes the data's settings", "meta_path": "postprocess.py takes outputs.json",
         "save_path": "results lie beside result_files_path", "output_res": "is a quarter of input_res_train",
         "enable_lossscale": "the zoo never read it; loss_scale 1 turns it off",
         "valid_ids": "ids come from the annotations"},
        {"cat_spec_wh": ((False,), "it never worked"), "dense_wh": ((False,), "it never worked"),
         "down_ratio": ((4,), "stride of the maps"), "eps": ((1e-7,), "epsilon of Adam"),
         "mse_loss": ((False,), "the heat map has the focal loss"), "num_stacks": ((1,), "one network"),
         "optimizer": (("Adam",), "opt_type is the setting"), "reg_offset": ((True,), "offsets are regressed")},
        {"train": ("load_checkpoint_path",), "eval": ("load_checkpoint_path",),
         "export": ("export_load_ckpt", "ckpt_file")})

    @classmethod
    def meant_by_the_zoo(cls, file: Translation, flags: Translation, old_file: bool) -> dict:
        if not old_file:
            return {}
        # Its train.py and eval.py took DEVICE_ID, whatever the file says.
        meant = {"up_sampling": "plain", **({"device_id": None} if file.typed("device_id") is not None else {})}
        own = {*flags.values, *(file.values.keys() - {"device_id"})}
        return {key: value for key, value in meant.items() if key not in own}
