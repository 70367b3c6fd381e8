"""Reads annotations of any format into one in-memory type. All other code reads annotations through this module."""
from __future__ import annotations

import importlib
from types import ModuleType
from typing import Optional, Sequence

from src.data.annotation_files import existing_file
from src.data.records import AnnotationSet, DataSources
from src.data.splitting import part_of
from src.errors import ConfigError, UsageError
from src.printable import counted
from src.settings.data_formats import DATA_FORMATS, SPLITS
from src.settings.schema import DataSection


def load_split(data: DataSection, split: str, classes: Optional[Sequence[str]] = None) -> AnnotationSet:
    """The annotations of the split "train", "val" or "test" that the data section of the settings names.

    classes: class names in label order; None = from the settings or else from the annotations.
    Raises UsageError that names the path and the setting if something is missing, ConfigError if num_classes
    contradicts the classes, and the errors of the format's reader.
    """
    reader, known, names = reader_of(data), _known_split(data, split), classes or data.classes
    if data.val_list and known != "test":
        annotations = part_of(reader.read_split(data, "train", names), known, data.val_list)
    else:
        annotations = reader.read_split(data, known, names)
    check_num_classes(data.num_classes, annotations.classes)
    return annotations


def check_split(data: DataSection, split: str) -> None:
    """Raises the UsageError of `load_split` if a folder or file of the split is missing; reads no annotations."""
    find_sources(data, split)


def find_sources(data: DataSection, split: str) -> DataSources:
    """The files of a split, found without reading them. Raises UsageError that names what is missing."""
    reader, known = reader_of(data), _known_split(data, split)
    if not data.val_list or known == "test":
        return reader.find_split(data, known)
    sources, path = reader.find_split(data, "train"), existing_file(data.val_list, "val_list")
    return sources._replace(annotation_files={**sources.annotation_files, f"val_list/{path.name}": path})


def reader_of(data: DataSection) -> ModuleType:
    """The module that reads the format; it has `read_split` and `find_split`."""
    return importlib.import_module(f"src.data.{DATA_FORMATS[data.dataset].reader}")


def _known_split(data: DataSection, split: str) -> str:
    """The name under which the format knows the split."""
    if split not in SPLITS:
        raise UsageError(f"split '{split}': choose {', '.join(SPLITS)}")
    known = DATA_FORMATS[data.dataset].splits
    if split not in known:
        raise UsageError(f"data of the format {data.dataset} has no split '{split}', only {', '.join(known)}; give the "
                         "files of another one as the split 'val'")
    return split


def check_num_classes(num_classes: Optional[int], classes: Sequence[str]) -> None:
    """Checks that num_classes is None or the number of classes, with or without the background.

    Raises ConfigError that names both numbers.
    """
    if num_classes is not None and num_classes not in (len(classes), len(classes) + 1):
        raise ConfigError(f"num_classes is {num_classes}, which does not fit {counted(len(classes), 'class')} "
                          f"({len(classes) + 1} with the background); correct classes, or leave num_classes out")
