"""The settings that all families share, by section, typed and described.

A key's name is unique over all sections, so that on the command line every key is a flag. Families extend the
sections in their own config.py. Text from flags and from files is read by `from_text`.
"""
import types
from typing import Dict, List, Literal, Optional, Sequence, Type, Union, get_args, get_origin

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from src.errors import ConfigError
from src.settings import yaml_text
from src.settings.data_formats import DATA_FORMATS, OLD_NAMES, SPLITS

MAX_DIGITS = 25     # a longer number is a mistake, and YAML could not represent it
_UNIONS = (Union, getattr(types, "UnionType", Union))
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def without_none(annotation):
    """(type, may be None) of an annotation such as Optional[int]."""
    if get_origin(annotation) in _UNIONS:
        inner = [item for item in get_args(annotation) if item is not type(None)]
        return inner[0], True
    return annotation, False


def above_zero(values: list) -> list:
    """Validates lists of numbers, or lists of such lists; raises ValueError if a number is 0 or below."""
    if any(value <= 0 for item in values for value in (item if isinstance(item, list) else [item])):
        raise ValueError(f"{values} has to hold numbers above 0 only")
    return values


def without_background(names: Sequence[str]) -> Sequence[str]:
    """Class names without the leading 'background' that the zoo's lists and VOC's json files carry.

    Only for lists from users or annotation files. In a checkpoint or MindRecord file the background is never counted,
    so there a class with this name is a class.
    """
    return names[1:] if names and names[0] == "background" else names


def described(section: Type[BaseModel], key: str) -> str:
    """The description of a setting, for families that change its default."""
    return section.model_fields[key].description or ""


def type_name(annotation) -> str:
    """The type as the help shows it: "int", "list of float", "coco | voc | other", "str or none"."""
    inner, optional = without_none(annotation)
    origin, arguments = get_origin(inner), get_args(inner)
    if origin is list:
        name = f"list of {type_name(arguments[0])}"
    elif origin is dict:
        name = f"{type_name(arguments[0])}={type_name(arguments[1])}, ..."
    elif origin is Literal:
        name = " | ".join(str(choice) for choice in arguments)
    else:
        name = "true | false" if inner is bool else inner.__name__
    return f"{name} or none" if optional else name


def from_text(text: str, annotation):
    """Convert text to the type `annotation`. Text that does not fit is returned unchanged, and the schema then refuses
    it.

    Lists are `300,300` or `[300, 300]`, dictionaries `a=b,c=d` or `{a: b}`; none, null and empty text are None if
    None is allowed; choices and booleans do not depend on case.
    """
    inner, optional = without_none(annotation)
    origin, arguments, word = get_origin(inner), get_args(inner), text.strip()
    if optional and word.lower() in ("", "none", "null"):
        return None
    if inner is bool:
        return _BOOLS.get(word.lower(), text)
    if inner in (int, float):
        try:
            return inner(word) if len(word) <= MAX_DIGITS else text
        except ValueError:
            return text
    if origin is Literal:
        return next((choice for choice in arguments if str(choice).lower() == word.lower()), text)
    if origin in (list, dict) and word[:1] in ("[", "{"):
        documents, _ = yaml_text.parse(word, word)
        return documents[0]
    parts = [part.strip() for part in word.split(",")] if word else []
    if origin is list:
        return [from_text(part, arguments[0]) for part in parts]
    if origin is dict and all("=" in part for part in parts):
        pairs = (part.split("=", 1) for part in parts)
        return {key.strip(): from_text(value, arguments[1]) for key, value in pairs}
    return text


class Section(BaseModel):
    """A group of settings: unknown keys are errors, nothing is converted silently, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=(),
                              validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _read_text(cls, value, info):
        if not isinstance(value, str):
            return value
        try:
            return from_text(value, cls.model_fields[info.field_name].annotation)
        except ConfigError:
            raise ValueError("the brackets cannot be read") from None


class ModelSection(Section):
    """The network."""

    model_name: str = Field(description="detector; --help lists the names")
    use_float16: bool = Field(False, description="compute in float16 on Ascend and GPU; a CPU always uses float32")
    backbone_style: Literal["zoo", "pytorch", "mindcv"] = Field(
        "zoo", description="padding and pooling of the backbone: zoo (the old zoo's checkpoints need it), pytorch "
        "(weights from PyTorch need it) or mindcv (MindCV's ResNets need it: pytorch with the zoo's max pooling)")

    @property
    def pads_every_side(self) -> bool:
        """Whether strided convolutions of the backbone pad all sides of a map, instead of two."""
        return self.backbone_style != "zoo"

    @property
    def pools_every_side(self) -> bool:
        """Whether pooling of the backbone does so."""
        return self.backbone_style not in ("zoo", "mindcv")


class DataSection(Section):
    """Where annotations and images are, and how they are checked, stored and read."""

    data_root: Optional[str] = Field(
        None, description="folder of a data set in any format; dataset and the paths below are found out and printed")
    dataset: Literal[tuple(DATA_FORMATS)] = Field(  # type: ignore[valid-type]
        "coco", description="annotation format: COCO JSON, Pascal VOC XML, rows of text (the zoo calls them other), "
        "YOLO labels, or LabelMe JSON")
    coco_root: Optional[str] = Field(
        "data/coco", description="COCO: folder that holds the image folders and the annotations")
    train_data_type: str = Field(
        "train2017", description="COCO: name of the training split: image folder, and {} in instances_set")
    val_data_type: str = Field(
        "val2017", description="COCO: name of the validation split: image folder, and {} in instances_set")
    test_data_type: str = Field("test2017", description="COCO: name of the test split")
    test_instances_set: str = Field(
        "annotations/image_info_test-dev2017.json", description="COCO: annotation file of the test split in coco_root; "
        "{} stands for the name of the split; without annotations the images are predicted and not measured")
    instances_set: str = Field(
        "annotations/instances_{}.json", description="COCO: annotation file in coco_root; {} stands for the name of "
        "the split")
    coco_images: str = Field(
        "{}", description="COCO: folder of the images in coco_root; {} stands for the name of the split")
    voc_root: Optional[str] = Field(
        "data/voc", description="VOC: folder with Annotations, JPEGImages and ImageSets, or with the zoo's train/ and "
        "eval/")
    voc_json: Optional[str] = Field(
        None, description="VOC: COCO JSON file in voc_root with the ground truth of the validation split; the XML "
        "files are read if it is none or does not exist")
    image_dir: Optional[str] = Field(None, description="rows of text: folder that the image paths are relative to")
    anno_path: Optional[str] = Field(
        None, description="rows of text: training file, one image per row: path x1,y1,x2,y2,class[,is_crowd] ...")
    val_anno_path: Optional[str] = Field(None, description="rows of text: validation file")
    yolo_root: Optional[str] = Field(
        None, description="YOLO: folder with images, labels and data.yaml, classes.txt or obj.names; or the yaml file")
    labelme_root: Optional[str] = Field(
        None, description="LabelMe: folder with a JSON file per image, or with such folders train/ and val/")
    val_list: Optional[str] = Field(
        None, description="file that names the images of the validation split, one per line, all others being the "
        "training split; tools/split_dataset.py writes it")
    classes: Optional[List[str]] = Field(
        None, description="class names; none = from the annotations; a leading 'background' is left out")
    num_classes: Optional[int] = Field(
        None, ge=1, description="expected number of classes, with or without background; another number is an error")
    mindrecord_dir: Optional[str] = Field(
        None, description="folder of the MindRecord files; none = a folder below MindRecord/ for each data set")
    mindrecord_shards: int = Field(8, ge=1, le=1000, description="number of MindRecord files per split")
    rebuild_mindrecord: bool = Field(False, description="write the MindRecord files again even if they are up to date")
    only_create_dataset: bool = Field(False, description="write the MindRecord files and stop")
    audit_policy: Dict[str, Literal["error", "drop", "repair", "keep"]] = Field(
        default_factory=dict, description="what to do with each kind of defect; kinds not named keep the default of "
        "the audit")
    max_image_pixels: int = Field(100_000_000, ge=1, description="largest image accepted, width x height in pixels")
    keep_empty_images: bool = Field(False, description="also train on images without objects")
    class_balance: float = Field(
        0.0, ge=0, le=1, description="how much more often images with a rare class are trained on: 0 = every image "
        "once per epoch, 0.5 = by the square root of how rare the class is, 1 = every class about as often")
    num_parallel_workers: Optional[int] = Field(
        None, ge=1, description="number of loader workers; none = number of CPU cores")
    python_multiprocessing: bool = Field(True, description="run loader workers as processes instead of threads")

    @property
    def reads_outside(self) -> bool:
        """Whether files are read to which a link leads out of the data set's folder."""
        return self.audit_policy.get("outside_root") == "keep"

    @field_validator("classes")
    @classmethod
    def _name_each_class_once(cls, classes):
        if classes is None:
            return None
        names = without_background(classes)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{', '.join(repeated)} occurs more than once; name each class once")
        if not names:
            raise ValueError("no class is named; list the names, or leave classes out to take all")
        return names

    @field_validator("dataset", mode="before")
    @classmethod
    def _current_format_name(cls, value):
        return OLD_NAMES.get(value.strip().lower(), value) if isinstance(value, str) else value


class TrainSection(Section):
    """Length of the training, start weights, checkpoints, evaluation while training."""

    auto: bool = Field(
        False, description="compute priors, number of epochs, warm-up, averaging and zoom_out from the training data; "
        "the run prints what it takes and why; a setting that is given as a flag is kept")
    epoch_size: int = Field(500, ge=1, description="number of epochs")
    batch_size: int = Field(32, ge=1, description="images per step and device")
    train_steps: int = Field(-1, ge=-1, description="stop after this number of steps; -1 = after epoch_size epochs")
    seed: int = Field(
        1, ge=0, le=2**32 - 1, description="random seed of initial weights, order of the images and augmentation")
    pre_trained: Optional[str] = Field(None, description="checkpoint to start training from")
    pre_trained_epoch_size: int = Field(
        0, ge=0, description="epochs that pre_trained was trained for; the learning rate continues after them")
    filter_weight: bool = Field(
        False, description="transfer learning: do not load the parameters of checkpoint_filter_list from pre_trained")
    freeze_layer: Literal["none", "backbone"] = Field("none", description="part of the network that is not trained")
    fixed_norms: bool = Field(
        False, description="batch norms use the statistics of pre_trained in training, too, and leave them as they "
        "are: for small batches, and for weights whose norms were folded into the convolutions")
    save_checkpoint_epochs: int = Field(10, ge=1, description="epochs between checkpoints")
    save_checkpoint_steps: Optional[int] = Field(None, ge=1, description="steps between checkpoints, instead of epochs")
    keep_checkpoint_max: int = Field(10, ge=1, description="number of newest checkpoints to keep")
    run_eval: Optional[bool] = Field(None, description="evaluate while training and at its end; none = where the data "
                                     "has a validation split")
    eval_start_epoch: int = Field(40, ge=1, description="first epoch that is followed by an evaluation")
    eval_interval: int = Field(1, ge=1, description="epochs between evaluations")
    save_best_ckpt: bool = Field(True, description="keep the checkpoint with the best AP; needs evaluation in training")
    early_stop_patience: int = Field(
        0, ge=0, description="stop after this number of evaluations without a better AP; 0 = off")
    accumulation_steps: int = Field(
        1, ge=1, description="number of batches whose gradients are added up for one optimizer step")
    ema_decay: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the exponential moving average of the weights; 0 = off")
    max_nonfinite_steps: int = Field(
        10, ge=1, description="stop after this number of consecutive steps with a loss that is not finite")
    log_interval: int = Field(1, ge=1, description="steps between log lines")


class OptimizerSection(Section):
    """Optimizer settings of every family; those of the learning rate belong to the family."""

    opt_type: Literal["momentum", "adam", "adam_l2"] = Field(
        "momentum", description="optimizer: momentum, adam (decoupled weight decay), adam_l2 (weight decay added to "
        "the gradient)")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD; Adam does not use it")
    nesterov: bool = Field(False, description="Nesterov's form of momentum; Adam does not use it")
    weight_decay: float = Field(
        0.0, ge=0, description="weight decay; gamma and beta of normalisation layers are exempt, with adam_l2 also "
        "biases")
    loss_scale: float = Field(
        1024, gt=0, description="factor on the loss before the gradient is computed; on a CPU it is 1")
    dynamic_loss_scale: bool = Field(
        False, description="halve the loss scale on overflow, double it after a time without overflow")
    grad_clip_norm: float = Field(0.0, ge=0, description="largest global norm of the gradients; 0 = no clipping")
    base_batch_size: Optional[int] = Field(
        None, ge=1, description="global batch size that the learning rate is meant for; it is scaled linearly to the "
        "actual one; none = not scaled")

    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:
        """The learning rate of every step of a run: (epochs * steps_per_epoch,) float32.

        global_batch: images per step over all devices, which base_batch_size is compared with.
        """
        raise NotImplementedError(f"{type(self).__name__} has no schedule")

    def schedule_for(self, epochs: int, steps_per_epoch: int) -> dict:  # noqa: ARG002 (for families)
        """{setting: value} of warm-up and steps of the learning rate in proportion to the length of a run."""
        return {}


class EvalSection(Section):
    """Evaluation and prediction."""

    checkpoint_file_path: Optional[str] = Field(
        None, description="model to evaluate, export or predict with: .ckpt, .mindir, .onnx or .xml file")
    engine: Optional[Literal["onnxruntime", "openvino"]] = Field(
        None, description="eval.py and predict.py: program that runs an .onnx file; none = onnxruntime. OpenVINO also "
        "runs .xml files")
    precision_mode: Literal["f32", "bf16"] = Field(
        "f32", description="engine openvino: number format of its computations; bf16 needs a processor that has it")
    img_path: Optional[str] = Field(None, description="predict.py: image, folder (with the folders in it), list file, "
                                    "several of these with commas, video file, or number of a camera")
    result_path: Optional[str] = Field(
        None, description="output folder of eval.py, predict.py and export.py; none = in the run folder of the model")
    preprocess_path: str = Field("preprocess_Result", description="preprocess.py: output folder of the network inputs")
    result_files_path: str = Field(
        "result_Files", description="postprocess.py: folder with the result files of the C++ application; the metrics "
        "go into postprocess/ beside it")
    eval_split: Literal[SPLITS] = Field("val", description="split to evaluate on")  # type: ignore[valid-type]
    eval_batch_size: int = Field(1, ge=1, description="images per evaluation step")
    drop: bool = Field(
        False, description="postprocess.py: skip results of images that the annotations do not name, instead of an "
        "error")
    metric_backend: Literal["auto", "pycocotools", "faster_coco_eval"] = Field(
        "auto", description="library that computes COCO metrics; auto = faster_coco_eval if installed, else "
        "pycocotools")
    report: bool = Field(True, description="write report.html")
    visual_image: bool = Field(
        False, description="draw annotated boxes into gt_image/ and detected ones into pred_image/")
    tile: Optional[int] = Field(
        None, ge=32, description="side in pixels of overlapping tiles; a larger image is detected tile by tile and as "
        "a whole, for small objects in large images; none = as a whole only; not for the C++ application")
    tile_overlap: float = Field(0.2, ge=0, le=0.9, description="fraction by which tiles overlap; an object as large as "
                                "the overlap is whole in one of them")
    agnostic_nms_threshold: Optional[float] = Field(
        None, ge=0, le=1, description="IoU above which the box with the lower score is dropped whatever its class, "
        "after the suppression within classes; 1 = never; none = what gave the better F1 in the model's evaluation, "
        "but never in AP, for which COCO lets boxes of different classes overlap")
    report_score_threshold: Optional[float] = Field(
        None, ge=0, le=1, description="least score of detections that are drawn (predict.py, visual_image) or counted "
        "in the report's confusion matrix and errors; none = the one with the best F1 of the model's evaluation, 0.3 "
        "without an evaluation")


class ExportSection(Section):
    """Files for deployment."""

    file_name: str = Field("detector", description="name of the exported file, without extension")
    file_format: Literal["MINDIR", "ONNX", "AIR"] = Field(
        "MINDIR", description="format of the exported file; AIR needs an Ascend device")
    export_batch_size: int = Field(1, ge=1, description="images per call of the exported model")
    with_postprocess: bool = Field(
        False, description="ONNX: the file takes resized uint8 images and returns detections in pixels of the original "
        "image; normalisation, decoding and NMS are inside")
    int8: bool = Field(False, description="ONNX: write <file_name>_int8.onnx, whose convolutions compute in 8-bit "
                       "integers; needs the data set, to calibrate on its training split and to measure AP before and "
                       "after on eval_split")
    int8_images: int = Field(100, ge=1, description="int8: number of training images that it is calibrated with")
    int8_max_ap_loss: float = Field(0.02, ge=0, le=1, description="int8: nothing is exported if AP falls by more")


class RuntimeSection(Section):
    """Device, processes, folders."""

    device_target: Literal["Ascend", "GPU", "CPU"] = Field("CPU", description="device that runs the network")
    device_id: Optional[int] = Field(
        None, ge=0, description="number of the device on this host; none = DEVICE_ID of the environment, which also "
        "counts in a job of several processes, or 0")
    device_num: int = Field(
        1, ge=1, description="number of devices in the job; launchers set it through the environment")
    rank_id: int = Field(0, ge=0, description="rank of this process; launchers set it through the environment")
    run_distribute: bool = Field(False, description="data-parallel training on device_num devices")
    all_reduce_fusion_config: List[int] = Field(
        default_factory=list, description="Ascend: indices of the last parameters of each all-reduce of gradients; "
        "empty, or for another number of parameters = four of equal size")
    runtime_num_threads: Optional[int] = Field(
        None, ge=1, description="CPU: threads per operator, of MindSpore, onnxruntime or OpenVINO; none = number of "
        "cores")
    native_ops: bool = Field(
        True, description="CPU: use the native operators where make native has built them; False = MindSpore's alone")
    deterministic: Optional[bool] = Field(
        None, description="operators that always add in the same order, so that a resumed run is exact; none = on a "
        "CPU; on Ascend they are slower, and kernels are compiled by one process")
    allow_hf32: bool = Field(
        False, description="train.py on an Ascend 910B: convolutions and matrix products with 10 instead of 23 bits of "
        "mantissa, which is faster and CANN's default for convolutions; also for evaluations while training")
    nms_by_matrix: Optional[bool] = Field(
        None, description="Faster and Mask R-CNN: suppress boxes by a matrix of their IoUs in float32; none = on chips "
        "whose operator for it rounds corners to float16 (Ascend 910A); give True to export for an Ascend 310 or 310P")
    sync_batch_norm: bool = Field(
        False, description="train.py on several devices: batch norms use the images of all devices; for small batches")
    enable_profiling: bool = Field(False, description="write a MindSpore profile into the run folder")
    tensorboard: bool = Field(False, description="train.py: write event files for TensorBoard into events/ of the run "
                              "folder; needs the package tensorboardX")
    output_path: Optional[str] = Field(None, description="run folder of train.py; none = runs/<model_name>/<time>")
    resume: bool = Field(
        False, description="continue the run in output_path from its last checkpoint; without output_path the newest "
        "run of the model")
    insist: List[str] = Field(
        default_factory=list, description="settings whose value is used although the model was made with another one, "
        "for example img_shape; only as a flag")
    verbose: bool = Field(False, description="show MindSpore's own messages and full stack traces")


class ModelArtsSection(Section):
    """Huawei Cloud ModelArts."""

    enable_modelarts: bool = Field(
        False, description="run as a ModelArts job: copy data from object storage and results back")
    data_url: Optional[str] = Field(None, description="data set in object storage")
    train_url: Optional[str] = Field(None, description="folder in object storage that output_path is copied to")
    checkpoint_url: Optional[str] = Field(None, description="checkpoint in object storage")
    data_path: str = Field("/cache/data", description="local folder that data_url is copied to")
    load_path: str = Field("/cache/checkpoint_path", description="local folder that checkpoint_url is copied to")
    modelarts_dataset_unzip_name: Optional[str] = Field(
        None, description="archive in data_path to unpack, without extension")
    need_modelarts_dataset_unzip: bool = Field(False, description="unpack modelarts_dataset_unzip_name")
