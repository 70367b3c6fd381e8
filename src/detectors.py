"""The table of detectors: model name -> family and configuration file. The only registry."""
from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path

from src.errors import ConfigError, UsageError
from src.model_utils import config as settings
from src.model_utils.help import help_text
from src.model_utils.legacy_keys import ALIASES
from src.model_utils.moxing_adapter import local_file

CONFIG_ROOT = Path(__file__).resolve().parents[1] / "config"


@dataclass(frozen=True)
class Detector:
    """One row of the table."""

    family: str         # package in src
    config_file: str    # below config/

    @property
    def config_path(self) -> Path:
        return CONFIG_ROOT / self.config_file


DETECTORS = {
    "ssd300": Detector("ssd", "ssd/ssd300_mobilenet_v2.yaml"),
    "ssd_mobilenet_v1": Detector("ssd", "ssd/ssd_mobilenet_v1_300.yaml"),
    "ssd_mobilenet_v1_fpn": Detector("ssd", "ssd/ssd_mobilenet_v1_fpn.yaml"),
    "ssd_resnet50_fpn": Detector("ssd", "ssd/ssd_resnet50_fpn.yaml"),
    "ssd_vgg16": Detector("ssd", "ssd/ssd_vgg16.yaml"),
    "centernet_resnet50": Detector("centernet", "centernet/centernet_resnet50.yaml"),
    "centernet_resnet101": Detector("centernet", "centernet/centernet_resnet101.yaml"),
    "faster_rcnn_resnet50": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_resnet50.yaml"),
    "faster_rcnn_resnet101": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_resnet101.yaml"),
    "faster_rcnn_resnet152": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_resnet152.yaml"),
    "faster_rcnn_res2net50": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_res2net50.yaml"),
    "faster_rcnn_res2net101": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_res2net101.yaml"),
    "faster_rcnn_res2net152": Detector("faster_rcnn", "faster_rcnn/faster_rcnn_res2net152.yaml"),
    "mask_rcnn_resnet50": Detector("mask_rcnn", "mask_rcnn/mask_rcnn_resnet50.yaml"),
}

# family -> beginning of its class names: SSDConfig in src/ssd/config.py, SSDDetector in src/ssd/detector.py
FAMILIES = {
    "ssd": "SSD",
    "centernet": "CenterNet",
    "faster_rcnn": "FasterRCNN",
    "mask_rcnn": "MaskRCNN",
}


def config_class(family: str):
    """The family's Config class; imported when it is asked for."""
    return getattr(importlib.import_module(f"src.{family}.config"), FAMILIES[family] + "Config")


def detector_class(config):
    """The family's detector class; src/ssd/detector.py shows what every family's has."""
    family = detector(config.model.model_name).family
    return getattr(importlib.import_module(f"src.{family}.detector"), FAMILIES[family] + "Detector")


def build_detector(config, classes):
    """The detector of config.model.model_name for these class names (no background)."""
    return detector_class(config)(config, classes)


def read_config(path) -> settings.Config:
    """The configuration that a run or an export wrote beside its results."""
    return load_config(["--config_path", str(path)], "read")


def detector(name: str) -> Detector:
    """The row of a model name; raises UsageError that lists the names."""
    if name not in DETECTORS:
        raise UsageError(f"unknown model '{name}'; available: {', '.join(DETECTORS)}")
    return DETECTORS[name]


def load_config(argv, command: str) -> settings.Config:
    """Configuration from the command line of `command` ("train", "eval", "export", "predict", "audit", ...).

    `--config_path` names the YAML file; without it `--model_name` picks the one that belongs to the model, and for
    eval, export and predict the settings that lie beside the model file will do.
    `--help` prints the settings and leaves. Raises UsageError or ConfigError.
    """
    arguments = list(argv)
    wants_help = any(argument in ("-h", "--help") for argument in arguments)
    flags = {setting.name: setting for setting in
             settings.split_flags(argument for argument in arguments if argument not in ("-h", "--help"))}
    path_flag, name_flag = flags.pop("config_path", None), flags.get("model_name")
    if path_flag:
        path = local_file(path_flag.value)
    elif name_flag:
        path = detector(name_flag.value).config_path
    else:
        path = None if command == "train" else _config_beside_model(flags)
    if path is None:
        if wants_help:
            _print_help(command, None)
        raise UsageError("no model given; add --config_path FILE or --model_name NAME "
                         f"(available: {', '.join(DETECTORS)})")
    file_settings = settings.read_file(path)
    name = name_flag.value if name_flag else _model_name(file_settings, path)
    config = settings.build(config_class(detector(name).family), file_settings, list(flags.values()))
    if wants_help:
        _print_help(command, config)
    return config


def _config_beside_model(flags: dict):
    """The settings that a run or an export wrote beside the model file of the flags; None when there are none."""
    for name, setting in flags.items():
        if ALIASES.get(name, name) == "checkpoint_file_path":
            model = Path(str(setting.value))
            beside = (model.with_suffix(".yaml"), model.parent / "config.yaml", model.parent.parent / "config.yaml")
            return next((path for path in beside if path.is_file()), None)
    return None


def _model_name(file_settings, path: Path) -> str:
    for setting in file_settings:
        if setting.name == "model_name":
            return str(setting.value)
    raise ConfigError(f"{path}: no model_name; add it to the section 'model' or give --model_name "
                      f"({', '.join(DETECTORS)})")


def _print_help(command: str, config) -> None:
    print(help_text(command, config, list(DETECTORS)))
    sys.exit(0)
