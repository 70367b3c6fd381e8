"""Which settings read the COCO files in a folder: the layouts of COCO itself, Roboflow, CVAT, Label Studio, VIA, ..."""
from __future__ import annotations

import contextlib
import os.path
import re
from pathlib import Path
from typing import Iterator, Optional

from src.errors import UsageError
from src.files import open_input, parse_json

BLOCK = 1 << 20
SPLIT_FOLDERS = ("train", "valid", "val", "test")
# Where images may be, {} being the name of the split.
IMAGE_FOLDERS = ("{}", "images/{}", "{}/images", "images", ".", "data", "{}/data")
NAMES = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.){0,1000}")')
KEYS = re.compile(rb'"(images|annotations)"\s*:\s*\[')
FEW = 20    # images of a file that are looked for
NO_TOKEN = re.compile(r"[^A-Za-z0-9]")
NAME_OF_SPLIT = re.compile(r"[A-Za-z0-9]*(train|default)[A-Za-z0-9]*")  # CVAT calls undivided tasks default


def recognise_coco(folder: Path) -> Optional[dict[str, str]]:
    """The settings for the COCO files below folder; None without such files.

    Raises UsageError where several files could be meant, or none of the first images of a file is found.
    """
    files = [path.relative_to(folder).as_posix() for path in _json_files(folder) if _is_coco(path)]
    instances = [name for name in files if Path(name).name.startswith("instances")]
    files = instances or files  # COCO's own folder holds captions and key points as well
    if not files:
        return None
    training = [name for name in files if "train" in name.lower()]
    others = [name for name in files if name not in training]
    validation = [name for name in others if "val" in name.lower()]
    training = training or [name for name in others if name not in validation and "test" not in name.lower()]
    for split, found in (("training", training), ("validation", validation)):
        if len(found) > 1 or not training:
            raise UsageError(f"{folder}: which file is the {split} split: {', '.join(found or files)}? Name it, for "
                             f"example --dataset coco --coco_root {folder} --instances_set {(found or files)[0]}")
    name = NAME_OF_SPLIT.search(training[0])
    pattern, train, val = training[0], name.group() if name else ".", ""
    if validation:
        common = _pattern(training[0], validation[0])
        if common is None:
            raise UsageError(f"{folder}: {training[0]} and {validation[0]} differ in more than the name of the split; "
                             "rename one of them")
        pattern, train, val = common
    settings = {"coco_root": str(folder), "instances_set": pattern,
                "coco_images": _image_folder(folder, folder / training[0], train), "train_data_type": train,
                "val_data_type": val}
    for other in others if validation else ():
        common = _pattern(training[0], other)
        if common is not None and common[0] == pattern and "test" in common[2].lower():
            settings |= {"test_instances_set": pattern, "test_data_type": common[2]}
    return settings


def _json_files(folder: Path) -> list[Path]:
    places = (folder, folder / "annotations", *(folder / name for name in SPLIT_FOLDERS))
    return [path for place in places for path in sorted(place.glob("*.json")) if not path.name.startswith(".")]


def _is_coco(path: Path) -> bool:
    """Whether a file begins like COCO's; large files are not parsed for that."""
    try:
        with open_input(path) as file:
            head = file.read(BLOCK)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"{") and KEYS.search(head) is not None


def _pattern(training: str, other: str) -> Optional[tuple[str, str, str]]:
    """The path with {} for the name of the split, and both names; None where the paths differ elsewhere, too."""
    start = next((index for index, (first, second) in enumerate(zip(training, other)) if first != second), 0)
    while start and not NO_TOKEN.match(training[start - 1]):
        start -= 1
    first, second = (NO_TOKEN.split(path[start:], maxsplit=1)[0] for path in (training, other))
    pattern = training[:start] + "{}" + training[start + len(first):]
    return (pattern, first, second) if pattern.replace("{}", second) == other else None


def _image_folder(folder: Path, json_path: Path, name: str) -> str:
    """The first of IMAGE_FOLDERS that holds one of the first images of a file."""
    wanted = list(_first_images(json_path))
    for pattern in IMAGE_FOLDERS:
        place = folder / pattern.replace("{}", name)
        if any(os.path.isfile(place / image) for image in wanted):
            return pattern
    looked = ", ".join(dict.fromkeys(os.path.normpath(pattern.replace("{}", name)) for pattern in IMAGE_FOLDERS))
    raise UsageError(f"{json_path}: its first images ({', '.join(wanted[:2]) or 'none'}) are in none of {looked} of "
                     f"{folder}; name their folder: --dataset coco --coco_root {folder} --coco_images FOLDER")


def with_slashes(name: str) -> str:
    """A path below the image folder that was written on Windows, as others write it; other names as they are."""
    return name if name.startswith("..") or ":" in name else name.replace("\\", "/")


def _first_images(json_path: Path) -> Iterator[str]:
    with open_input(json_path) as file:
        rest = b""
        while block := file.read(BLOCK):
            found = NAMES.findall(rest + block)[:FEW]
            if found:
                with contextlib.suppress(ValueError):   # broken text; reading the file will say where
                    yield from (with_slashes(parse_json(name)) for name in found)
                return
            rest = block[-2000:]
