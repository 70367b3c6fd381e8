"""Annotations of any format as one in-memory type: the way into the data for everything else."""
from __future__ import annotations

import importlib
from types import ModuleType
from typing import Optional, Sequence

from src.data.records import AnnotationSet
from src.errors import ConfigError, UsageError
from src.settings.data_formats import DATA_FORMATS, SPLITS
from src.settings.schema import DataSection


def load_split(data: DataSection, split: str, classes: Optional[Sequence[str]] = None) -> AnnotationSet:
    """The annotations of "train", "val" or "test", as the data section of the settings says.

    classes: class names in label order; None takes those of the settings, or else those of the annotations.
    Raises UsageError naming the path and the setting when something is missing, ConfigError when num_classes
    contradicts the classes, and what the readers raise.
    """
    annotations = reader_of(data).read_split(data, _known_split(data, split), classes or data.classes)
    check_num_classes(data.num_classes, annotations.classes)
    return annotations


def check_split(data: DataSection, split: str) -> None:
    """Raises UsageError, as `load_split` does, when a folder or file of the split is missing; reads no annotation."""
    reader_of(data).find_split(data, _known_split(data, split))


def reader_of(data: DataSection) -> ModuleType:
    """The module of the format: `read_split` and `find_split`."""
    return importlib.import_module(f"src.data.{DATA_FORMATS[data.dataset].reader}")


def _known_split(data: DataSection, split: str) -> str:
    """The split under the name that the format knows."""
    if split not in SPLITS:
        raise UsageError(f"split '{split}': choose {', '.join(SPLITS)}")
    return split if split in DATA_FORMATS[data.dataset].splits else "val"


def check_num_classes(num_classes: Optional[int], classes: Sequence[str]) -> None:
    """num_classes is an assertion: None, or the number of classes without or with the background.

    Raises ConfigError naming both numbers.
    """
    if num_classes is not None and num_classes not in (len(classes), len(classes) + 1):
        raise ConfigError(f"num_classes is {num_classes}, but there are {len(classes)} classes "
                          f"({len(classes) + 1} with the background); correct classes, or leave num_classes out")
