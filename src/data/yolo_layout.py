"""Where a YOLO data set keeps the images and labels of a split, in the layouts of many programs."""
from __future__ import annotations

import itertools
import os.path
from pathlib import Path
from typing import NamedTuple, Optional

from src.data.annotation_files import begins_with, check_below, no_split, read_lines
from src.data.checks import checked_name
from src.data.yolo_names import SPLIT_KEYS, YoloSet
from src.errors import AnnotationError, UsageError
from src.printable import counted

# Also of images that cannot be read here: the audit names them.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".heic", ".avif")
FIRST_ROW = rb"^\s*\d+(\s+[-+.\deE]+){4}"
FEW = 20


class YoloSplit(NamedTuple):
    """images: sorted. labels: the file of each, None for an image without objects. lists: files that name the images.
    strays: files of rows that belong to no image."""

    images: list[Path]
    labels: list[Optional[Path]]
    lists: list[Path]
    strays: list[Path]


def find_yolo_split(found: YoloSet, split: str, read_outside: bool) -> YoloSplit:
    """The images of "train", "val" or "test" with their label files.

    data.yaml says where they are. Without it they are in images/<split>, <split>/images or <split>, or <split>.txt
    lists them; a set without splits is the split "train". Raises UsageError when there is no such split.
    """
    places = _named_places(found, split) if found.splits is not None else _usual_place(found.root, split)
    images: dict[Path, None] = {}
    for place in places:
        images.update(dict.fromkeys(_images_in(place) if place.is_dir() else _listed(found.root, place)))
    ordered = sorted(images)
    labels = [_label_of(found.root, image) for image in ordered]
    if not any(labels):
        raise UsageError(f"{found.root}: {counted(len(ordered), 'image')} of the split '{split}', and none has a label "
                         "file. It is looked for beside the image and, for an image in images/, in labels/; set "
                         "yolo_root")
    strays = _strays(found.root, ordered)
    if not read_outside:
        check_below(found.root, [path for path in (*labels, *strays) if path is not None], "yolo_root")
    return YoloSplit(ordered, labels, [place for place in places if not place.is_dir()], strays)


def has_labels(folder: Path) -> bool:
    """Whether one of the first text files below a folder holds rows of this form."""
    return any(begins_with(path, FIRST_ROW) for path in itertools.islice(folder.rglob("*.txt"), FEW))


def _named_places(found: YoloSet, split: str) -> list[Path]:
    """The folders and lists that data.yaml gives a split."""
    entries = found.splits[split] if found.splits is not None else []
    if not entries:
        advice = ", or draw one with tools/split_dataset.py" if split == "val" else ""
        raise UsageError(f"{found.named_in}: names no split '{split}'; add it{advice}")
    return [_below_root(found, entry, split) for entry in entries]


def _below_root(found: YoloSet, entry: str, split: str) -> Path:
    """Where an entry lies. Its beginning is often a path that is right only where the file was written: Roboflow's
    ../train/images is train/images beside data.yaml."""
    relative, base = _without_dots(entry), _without_dots(found.base)
    for candidate in (found.root / relative, found.root / base / relative):
        if candidate.is_relative_to(found.root) and os.path.exists(candidate):   # links are left to the audit
            return candidate
    raise UsageError(f"{found.named_in}: {split} is '{entry}', and {found.root / relative} does not exist; correct the "
                     "line, or move the file into the folder of the data set")


def _without_dots(path: str) -> Path:
    """The path without "." and ".." at its beginning; an absolute one stays absolute."""
    parts = Path(path.replace("\\", "/")).parts
    return Path(*(part for part in parts if part not in (".", "..")))


def _usual_place(root: Path, split: str) -> list[Path]:
    """The folder or list of a split of a set without data.yaml."""
    looked = [place for name in SPLIT_KEYS[split] for place in _usual_places(root, name)]
    for place in looked:
        if place.exists():
            return [place]
    all_places = [place for names in SPLIT_KEYS.values() for name in names for place in _usual_places(root, name)]
    if split == "train" and not any(place.exists() for place in all_places):
        return [root / "images" if (root / "images").is_dir() else root]
    raise no_split(root, split, looked, "yolo_root")


def _usual_places(root: Path, name: str) -> list[Path]:
    return [root / f"{name}.txt", root / "images" / name, root / name / "images", root / name]


def _images_in(folder: Path) -> list[Path]:
    """All images below a folder; hidden files are none."""
    return [path for path in folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]


def _listed(root: Path, list_path: Path) -> list[Path]:
    """The images that a list names. CVAT writes data/ in front of each, which is the folder of the data set itself."""
    images = []
    for line, text in read_lines(list_path):
        try:
            relative = _without_dots(checked_name(text))
        except AnnotationError as error:
            raise AnnotationError(f"{list_path}:{line}: {error}") from None
        candidates = [root / relative, list_path.parent / relative]
        if relative.parts[:1] == ("data",):
            candidates.append(root.joinpath(*relative.parts[1:]))
        images.append(next((path for path in candidates if os.path.isfile(path)), candidates[0]))
    return images


def _label_of(root: Path, image: Path) -> Optional[Path]:
    """The label file of an image, where there is one."""
    return next((path for path in (_label_folder(root, image.parent) / f"{image.stem}.txt", image.with_suffix(".txt"))
                 if os.path.isfile(path)), None)


def _label_folder(root: Path, folder: Path) -> Path:
    """labels/... of images/...; else the folder itself."""
    parts = list(folder.relative_to(root).parts) if folder.is_relative_to(root) else []
    for index in reversed(range(len(parts))):
        if parts[index].lower() == "images":
            return root.joinpath(*parts[:index], "labels", *parts[index + 1:])
    return folder


def _strays(root: Path, images: list[Path]) -> list[Path]:
    """Files of rows in the folders of these images' labels for which there is no image."""
    strays = []
    for folder in dict.fromkeys(image.parent for image in images):
        stems = {path.stem for path in folder.iterdir() if path.suffix != ".txt"} if os.path.isdir(folder) else set()
        labels = _label_folder(root, folder)
        for path in sorted(labels.glob("*.txt")) if os.path.isdir(labels) else ():
            if path.stem not in stems and path.name[0] != "." and begins_with(path, FIRST_ROW):
                strays.append(path)
    return strays
