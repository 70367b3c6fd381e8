"""`--data DIR`: which format a folder is in, and the settings that read it."""
from __future__ import annotations

import importlib
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from src.data.annotation_files import begins_with, existing_folder
from src.errors import UsageError
from src.settings.data_formats import DATA_FORMATS

VAL_LIST = "val_images.txt"     # in the folder of a data set: what tools/split_dataset.py writes


class Foreign(NamedTuple):
    """A form that cannot be read here. files: patterns of names; content: what one of them begins with."""

    name: str
    files: tuple[str, ...]
    content: bytes
    way_out: str


FOREIGN = (
    Foreign("a project of the VGG Image Annotator (VIA)", ("*.json",), rb'"_via_|"regions"\s*:',
            "choose Annotation > Export Annotations (COCO format) in VIA"),
    Foreign("Label Studio's own form", ("*.json",), rb'(?s)^\s*\[\s*\{.*"(annotations|data|completions)"\s*:',
            "choose Export > COCO or YOLO in Label Studio"),
    Foreign("CVAT's own form", ("*.xml",), rb"<annotations>", "export as COCO 1.0, Pascal VOC 1.1 or Ultralytics YOLO"),
    Foreign("CreateML's form", ("*createml*.json", "*/*createml*.json"), b"", "export as COCO or Pascal VOC"),
    Foreign("a table", ("*.csv", "*/*.csv"), b"", "export as COCO, Pascal VOC or YOLO"),
    Foreign("TFRecord", ("*.tfrecord*", "*/*.tfrecord*"), b"", "export as COCO, Pascal VOC or YOLO"),
)


def with_data(config: Any) -> Any:
    """The configuration with the settings that read the folder `data_root`, which are printed; without that the same.

    Raises UsageError for a folder that no format or more than one fits.
    """
    if config.data.data_root is None:
        return config
    folder = existing_folder(config.data.data_root, "data")
    settings = recognise(folder)
    if config.data.val_list is None and (folder / VAL_LIST).is_file():
        settings["val_list"] = str(folder / VAL_LIST)
    print(f"{config.data.data_root}: read with {_flags(settings)}")
    return config.replace(data_root=None, **settings)


def recognise(folder: Path) -> dict[str, str]:
    """`dataset` and the settings of the format's reader; of a folder that only holds a data set in a folder of its own,
    those of that one. Raises UsageError."""
    found = _formats_of(folder)
    if not found:
        inner = {path: _formats_of(path) for path in sorted(folder.iterdir())
                 if path.is_dir() and not path.name.startswith((".", "__"))}
        inner = {path: formats for path, formats in inner.items() if formats}
        if len(inner) > 1:
            raise UsageError(f"{folder}: holds several data sets, {', '.join(map(str, inner))}; give one of them to "
                             "--data")
        found = next(iter(inner.values()), {})
    if not found:
        raise UsageError(_why_not(folder))
    if len(found) > 1:
        ways = [_flags({"dataset": name, **settings}) for name, settings in found.items()]
        raise UsageError(f"{folder}: holds annotations of several formats; instead of --data give one of\n  "
                         + "\n  ".join(ways))
    (name, settings), = found.items()
    return {"dataset": name, **settings}


def _flags(settings: dict[str, str]) -> str:
    return " ".join(f"--{key} {shlex.quote(value)}" for key, value in settings.items())


def _formats_of(folder: Path) -> dict[str, dict[str, str]]:
    """The settings of each format that a folder seems to be in."""
    found = {name: importlib.import_module(f"src.data.{row.reader}").recognise(folder)
             for name, row in DATA_FORMATS.items()}
    return {name: settings for name, settings in found.items() if settings is not None}


def _why_not(folder: Path) -> str:
    for foreign in FOREIGN:
        for path in (path for pattern in foreign.files for path in sorted(folder.glob(pattern))):
            if not foreign.content or begins_with(path, foreign.content):
                return (f"{path}: is {foreign.name}, which is not read here; {foreign.way_out}, and give the folder of "
                        "that export, with the images, to --data")
    return (f"{folder}: holds no annotations that are known here ({', '.join(DATA_FORMATS)}); docs/datasets.md shows "
            "what each labelling program exports")
