"""The table of models: name -> family and settings file. The only registry."""
from __future__ import annotations

import importlib
from pathlib import Path
from typing import Collection, NamedTuple, Optional

from src.errors import UsageError
from src.settings.config import build
from src.settings.files import read_file

CONFIG_ROOT = Path(__file__).resolve().parents[1] / "config"


CONFIG_ENDINGS = {"centernet": "authors"}   # of the settings files for other libraries, where it is not their name


class Model(NamedTuple):
    """One row of the table."""

    family: str         # package in src
    config_file: str    # below config/

    @property
    def config_path(self) -> Path:
        return CONFIG_ROOT / self.config_file


MODELS = {
    "ssd300": Model("ssd", "ssd/ssd300_mobilenet_v2.yaml"),
    "ssd_mobilenet_v1": Model("ssd", "ssd/ssd_mobilenet_v1_300.yaml"),
    "ssd_mobilenet_v1_fpn": Model("ssd", "ssd/ssd_mobilenet_v1_fpn.yaml"),
    "ssd_resnet50_fpn": Model("ssd", "ssd/ssd_resnet50_fpn.yaml"),
    "ssd_vgg16": Model("ssd", "ssd/ssd_vgg16.yaml"),
    "centernet_resnet50": Model("centernet", "centernet/centernet_resnet50.yaml"),
    "centernet_resnet101": Model("centernet", "centernet/centernet_resnet101.yaml"),
    "faster_rcnn_resnet50": Model("faster_rcnn", "faster_rcnn/faster_rcnn_resnet50.yaml"),
    "faster_rcnn_resnet101": Model("faster_rcnn", "faster_rcnn/faster_rcnn_resnet101.yaml"),
    "faster_rcnn_resnet152": Model("faster_rcnn", "faster_rcnn/faster_rcnn_resnet152.yaml"),
    "faster_rcnn_res2net50": Model("faster_rcnn", "faster_rcnn/faster_rcnn_res2net50.yaml"),
    "faster_rcnn_res2net101": Model("faster_rcnn", "faster_rcnn/faster_rcnn_res2net101.yaml"),
    "faster_rcnn_res2net152": Model("faster_rcnn", "faster_rcnn/faster_rcnn_res2net152.yaml"),
    "mask_rcnn_resnet50": Model("mask_rcnn", "mask_rcnn/mask_rcnn_resnet50.yaml"),
    "mask_rcnn_resnet101": Model("mask_rcnn", "mask_rcnn/mask_rcnn_resnet101.yaml"),
}

# family -> beginning of its class names: SSDConfig in src/ssd/config.py, SSDDetector in src/ssd/detector.py
FAMILIES = {
    "ssd": "SSD",
    "centernet": "CenterNet",
    "faster_rcnn": "FasterRCNN",
    "mask_rcnn": "MaskRCNN",
}


def model(name: str) -> Model:
    """The row of a model name; raises UsageError that lists the names."""
    if name not in MODELS:
        raise UsageError(f"unknown model '{name}'; available: {', '.join(MODELS)}")
    return MODELS[name]


def library_config(name: str, library: str) -> Optional[Path]:
    """The settings file for the published detectors of another library, of this model or else of another one of its
    family, whose settings are the same; None where there is none."""
    own, ending = model(name).config_path, CONFIG_ENDINGS.get(library, library)
    files = [own.with_stem(f"{own.stem}_{ending}"), *sorted(own.parent.glob(f"*_{ending}.yaml"))]
    return next((path for path in files if path.is_file()), None)


def config_class(family: str):
    """The family's Config class; imported on demand."""
    return getattr(importlib.import_module(f"src.{family}.config"), FAMILIES[family] + "Config")


def detector_class(config):
    """The family's detector class."""
    family = model(config.model.model_name).family
    return getattr(importlib.import_module(f"src.{family}.detector"), FAMILIES[family] + "Detector")


def build_detector(config, classes):
    """The detector of config.model.model_name for these class names (no background)."""
    return detector_class(config)(config, classes)


def model_of_zoo(names: Collection[str]) -> Optional[str]:
    """The model whose checkpoints in the old zoo have parameters of these names; None where no model has them all."""
    if not names:
        return None
    sizes = {}
    for model_name, row in MODELS.items():
        config = build(config_class(row.family), read_file(row.config_path), [])
        detector = build_detector(config, ("object",))
        if all(detector.from_zoo(name) for name in names):
            sizes[model_name] = len(detector.zoo_cells())   # a deeper network knows the names of a shallow one, too
    return min(sizes, key=sizes.__getitem__, default=None)
