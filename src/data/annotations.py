"""Annotations of any supported form as one in-memory type: the way into the data for everything else."""
from __future__ import annotations

import os.path
from dataclasses import replace
from pathlib import Path

from src.data.coco_json import load_coco, to_coco
from src.data.pascal_voc import load_voc, voc_pictures
from src.data.records import AnnotationSet, Record, inside
from src.data.txt_rows import load_txt
from src.errors import ConfigError, UsageError

__all__ = ["AnnotationSet", "Record", "check_num_classes", "inside", "load_coco", "load_split", "load_txt",
           "load_voc", "to_coco"]


def load_split(data, split) -> AnnotationSet:
    """The annotations of "train", "val" or "test", as the data section of the configuration says.

    Only Pascal VOC knows a split "test"; elsewhere it is "val".
    Raises UsageError naming the path and the key to set when something is missing, ConfigError when num_classes
    contradicts the classes, and what the readers raise.
    """
    if split not in ("train", "val", "test"):
        raise UsageError(f"split '{split}': choose train, val or test")
    if data.dataset == "voc":
        annotations = _load_voc_split(data, split)
    elif data.dataset == "coco":
        annotations = _load_coco_split(data, split)
    elif data.dataset == "other":
        key = "anno_path" if split == "train" or not data.val_anno_path else "val_anno_path"
        annotations = load_txt(_file(getattr(data, key), key), _folder(data.image_dir, "image_dir"), data.classes)
    else:
        raise ConfigError(f"dataset '{data.dataset}': choose coco, voc or other")
    check_num_classes(data.num_classes, annotations.classes)
    return annotations


def check_num_classes(num_classes, classes) -> None:
    """num_classes is an assertion: None, or the number of classes without or with the background.

    Raises ConfigError naming both numbers.
    """
    if num_classes is not None and num_classes not in (len(classes), len(classes) + 1):
        raise ConfigError(f"num_classes is {num_classes}, but there are {len(classes)} classes "
                          f"({len(classes) + 1} with the background); correct classes, or leave num_classes out")


def _load_coco_split(data, split):
    key = "train_data_type" if split == "train" else "val_data_type"
    data_type = getattr(data, key)
    root = _folder(data.coco_root, "coco_root")
    json_path = _file(root / data.instances_set.replace("{}", data_type), f"coco_root, instances_set or {key}")
    return load_coco(json_path, _folder(root / data_type, f"coco_root or {key}"), data.classes)


def _load_voc_split(data, split):
    root = _folder(data.voc_root, "voc_root")
    ground_truth = root / data.voc_json if data.voc_json and split == "val" else None
    if ground_truth is None or not ground_truth.is_file():
        return load_voc(root, split, data.classes)
    return replace(load_coco(ground_truth, voc_pictures(root, split), data.classes), kind="voc")


def _folder(path, key):
    if not path or not os.path.isdir(path):
        raise UsageError(f"'{path or ''}': no such folder; set {key}")
    return Path(path)


def _file(path, key):
    if not path or not os.path.isfile(path):
        raise UsageError(f"'{path or ''}': no such file; set {key}")
    return Path(path)
