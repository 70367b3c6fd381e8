"""The text of --help, from the schema: a program's own settings by default, all of them with --help all."""
from __future__ import annotations

import textwrap
from typing import Any, NamedTuple, Optional

from src.settings.config import Config, fields
from src.settings.schema import type_name

WIDTH = 100
SHOWN_AS = {"checkpoint_file_path": "model_path", "data_root": "data"}  # the spelling that README and examples use
DATA = ("data_root", "dataset", "coco_root", "voc_root", "yolo_root", "labelme_root", "image_dir", "anno_path",
        "val_anno_path", "val_list", "classes")
MODEL = ("checkpoint_file_path", "config_path", "model_name")


class Program(NamedTuple):
    """The beginning of a program's help."""

    purpose: str
    example: str
    settings: tuple  # its own settings, in the order of the help


PROGRAMS = {
    "train": Program(
        "Train a detector.",
        "python train.py --config_path config/ssd/ssd300_mobilenet_v2_small.yaml --dataset voc --voc_root /data/voc",
        ("config_path", "model_name", *DATA, "output_path", "resume", "pre_trained", "filter_weight", "img_shape",
         "auto", "epoch_size", "batch_size", "lr", "base_lr", "run_eval", "tensorboard", "device_target",
         "run_distribute", "enable_modelarts")),
    "eval": Program(
        "Evaluate a model: COCO's metrics, VOC's for VOC data, and a report.",
        "python eval.py --model_path runs/voc --eval_split test",
        (*MODEL, "eval_split", *DATA, "result_path", "eval_batch_size", "tile", "tile_overlap", "report",
         "visual_image", "metric_backend", "engine", "precision_mode", "device_target")),
    "predict": Program(
        "Detect objects in images.",
        "python predict.py --model_path runs/voc --img_path photos/",
        (*MODEL, "img_path", "report_score_threshold", "agnostic_nms_threshold", "tile", "tile_overlap",
         "result_path", "eval_batch_size", "engine", "precision_mode", "device_target")),
    "export": Program(
        "Export a checkpoint for deployment, and check the file against the network.",
        "python export.py --model_path runs/voc --file_format ONNX",
        (*MODEL, "file_format", "file_name", "export_batch_size", "int8", "int8_max_ap_loss", *DATA,
         "result_path", "device_target")),
    "preprocess": Program(
        "Write the network inputs of a data set, for the C++ application.",
        "python preprocess.py --model_path runs/voc/export/ssd.mindir --preprocess_path preprocess_Result",
        (*MODEL, *DATA, "eval_split", "preprocess_path")),
    "postprocess": Program(
        "Measure the result files of the C++ application.",
        "python postprocess.py --model_path runs/voc/export/ssd.mindir --result_files_path result_Files",
        (*MODEL, *DATA, "eval_split", "result_files_path", "drop", "report")),
    "audit": Program(
        "Look at every image and every box of a data set.",
        "python audit.py --config_path config/ssd/ssd300_mobilenet_v2_small.yaml --dataset voc --voc_root /data/voc",
        ("config_path", "model_name", *DATA, "audit_policy", "max_image_pixels")),
    "tools/download_coco": Program(
        "Download COCO 2017.",
        "python tools/download_coco.py --model_name ssd300 --coco_root /data/coco",
        ("config_path", "model_name", "coco_root")),
}
CONFIG_PATH = "YAML file with the settings; without it those beside the model, or the file of --model_name"
ENDING = """--help all lists all {count} settings; with --config_path or --model_name also those of the model, and
its values. Every key of the YAML file is a flag: --key value, --key=value, or --key alone for true.
Lists are written 300,300, dictionaries a=b,c=d. A flag wins over the file.
"""


def help_text(command: str, config: Optional[Config], models: list[str], everything: bool = False) -> str:
    """Usage and settings of a program, at most WIDTH columns wide.

    config: shows its values; None shows the schema's defaults. everything: all settings, by section.
    """
    program = PROGRAMS[command]
    known = fields(Config if config is None else type(config))
    lines = [f"usage: python {command}.py [--key value ...]", "", program.purpose, "", "example:",
             f"  {program.example}", ""]
    if everything:
        section = None
        for key, (name, field) in known.items():
            lines += [f"{name}:"] if name != section else []
            section = name
            lines += _setting(key, name, field, config)
    else:
        lines.append("settings:")
        for key in program.settings:
            if key == "config_path":
                lines += _wrapped(key, CONFIG_PATH)
            elif key in known:
                name, field = known[key]
                lines += _setting(key, name, field, config)
        lines += ["", ENDING.format(count=len(known)).rstrip()]
    return "\n".join([*lines, "", *textwrap.wrap(f"models: {', '.join(models)}", WIDTH, subsequent_indent="  ")])


def _setting(key: str, section: str, field: Any, config: Optional[Config]) -> list[str]:
    value = default_text(getattr(getattr(config, section), key) if config else default_value(field))
    return _wrapped(SHOWN_AS.get(key, key), f"{field.description} [{type_name(field.annotation)}; {value}]")


def _wrapped(name: str, description: str) -> list[str]:
    text = textwrap.wrap(description, WIDTH - 28, break_on_hyphens=False)
    flag = f"  --{name}"
    first = f"{flag:<28}{text[0]}" if len(flag) < 27 else f"{flag}\n{'':28}{text[0]}"
    return [first, *(f"{'':28}{line}" for line in text[1:])]


def default_value(field):
    """The schema's default; empty text for a required setting."""
    return "" if field.is_required() else field.get_default(call_default_factory=True)


def default_text(value) -> str:
    """A value in the form of the command line, at most 60 characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
