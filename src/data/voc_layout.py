"""Where a Pascal VOC data set keeps the xml files and images of a split, in the layouts of many programs."""
from __future__ import annotations

import os.path
from pathlib import Path
from typing import NamedTuple, Optional

from src.data.annotation_files import Listings, no_split, read_lines
from src.data.checks import checked_name
from src.data.records import ReaderFinding
from src.errors import AnnotationError, UsageError

# Names under which a split is looked for, as ImageSets/Main/<name>.txt or as a folder.
SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation", "eval"), "test": ("test", "eval")}
UNDIVIDED = ("trainval", "default")     # lists of the devkit and of CVAT that hold more than one split
IMAGE_FOLDERS = ("jpegimages", "images")
ANNOTATION_FOLDERS = ("annotations",)


class VocSplit(NamedTuple):
    """image_folder: of all images of the split. list_path: the file that names them, where there is one."""

    xml_paths: list[Path]
    image_folder: Path
    list_path: Optional[Path] = None


def find_voc_split(root: Path, split: str, findings: list[ReaderFinding]) -> VocSplit:
    """The files of "train", "val" or "test" below root, in one of the layouts

    - Annotations/ and JPEGImages/ or images/, with ImageSets/Main/<split>.txt (VOC devkit, CVAT);
    - a folder per split with images and xml side by side (Roboflow), or in Images/ and Annotations/ (the zoo);
    - the same without splits (LabelImg, Label Studio, many sets on Kaggle): everything is the split "train".

    Adds stems that a list names twice to `findings`. Raises UsageError when there is no such split, AnnotationError
    (file:line) for a stem without xml.
    """
    for path in _lists(root, SPLIT_NAMES[split]):
        if path.is_file():
            return _listed(root, path, findings)
    folders = [root / name for name in SPLIT_NAMES[split]]
    for folder in folders:
        if folder.is_dir():
            return VocSplit(_all_below(folder), image_folder(folder))
    whole = _undivided(root, findings) if split == "train" else None
    if whole is None:
        raise no_split(root, split, _lists(root, SPLIT_NAMES[split]) + folders, "voc_root")
    return whole


def _undivided(root: Path, findings: list[ReaderFinding]) -> Optional[VocSplit]:
    """All of a set without splits; None where the rest of a set with splits would be mistaken for it."""
    names = [name for split in ("val", "test") for name in SPLIT_NAMES[split]]
    validation = [*_lists(root, SPLIT_NAMES["val"]), *(root / name for name in SPLIT_NAMES["val"])]
    for path in _lists(root, UNDIVIDED):
        if path.is_file() and not any(other.exists() for other in validation):
            return _listed(root, path, findings)
    xml_paths = xml_files(root)
    if not xml_paths or any(path.exists() for path in [*_lists(root, names), *(root / name for name in names)]):
        return None
    return VocSplit(_all_below(root), image_folder(root))


def _all_below(folder: Path) -> list[Path]:
    """The xml files of a split; raises UsageError for some in folders of their own, which would not be read."""
    xml_paths = xml_files(folder)
    place = _child(folder, ANNOTATION_FOLDERS) or folder
    deeper = sorted(path for path in place.rglob("*.xml") if path.parent != place and not path.name.startswith("."))
    if deeper:
        others = f"and {len(deeper) - 1} other xml files lie" if deeper[1:] else "lies"
        raise UsageError(f"{deeper[0]} {others} in a folder below {place} and would not be read; move the xml files "
                         "and their images up")
    return xml_paths


def all_xml_files(root: Path) -> list[Path]:
    """Of all splits."""
    names = dict.fromkeys(name for names in SPLIT_NAMES.values() for name in names)
    return [path for folder in (root, *(root / name for name in names)) for path in xml_files(folder)]


def any_image_folder(root: Path, split: str) -> Path:
    """The folder of a split's images, in any layout; raises UsageError when there is none."""
    root = root.resolve()
    folders = [root / name for name in SPLIT_NAMES[split] if (root / name).is_dir()]
    found = _child(root, IMAGE_FOLDERS) or (image_folder(folders[0]) if folders else None)
    if found is None:
        raise UsageError(f"{root}: has no images of the split '{split}'; looked for JPEGImages, images, "
                         f"{', '.join(SPLIT_NAMES[split])}; set voc_root")
    return found


def image_folder(folder: Path) -> Path:
    """The folder of the images within a set or a split."""
    return _child(folder, IMAGE_FOLDERS) or folder


def xml_files(folder: Path) -> list[Path]:
    """The xml files of a set or a split, sorted; those of macOS (._1.xml) are none."""
    folder = _child(folder, ANNOTATION_FOLDERS) or folder
    return sorted(path for path in folder.glob("*.xml") if not path.name.startswith("."))


def _child(folder: Path, names: tuple[str, ...]) -> Optional[Path]:
    """The first folder in `folder` of one of these lower-case names, however it is written."""
    if not folder.is_dir():
        return None
    children = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_dir()}
    return next((children[name] for name in names if name in children), None)


def _lists(root: Path, names: tuple[str, ...] | list[str]) -> list[Path]:
    return [root / "ImageSets" / "Main" / f"{name}.txt" for name in names]


def _listed(root: Path, list_path: Path, findings: list[ReaderFinding]) -> VocSplit:
    annotations, images = _child(root, ANNOTATION_FOLDERS), _child(root, IMAGE_FOLDERS)
    if annotations is None or images is None:
        missing = root / ("Annotations" if annotations is None else "JPEGImages")
        raise UsageError(f"{missing}: no such folder, and {list_path} needs it; set voc_root")
    xml_paths: dict[str, Path] = {}
    listings = Listings()
    for line, stem in read_lines(list_path):
        where = f"{list_path}:{line}"
        try:
            xml_path = annotations / f"{checked_name(stem)}.xml"
        except AnnotationError as error:
            raise AnnotationError(f"{where}: {error}") from None
        if not os.path.isfile(xml_path):
            xml_path = listings.same(xml_path) or xml_path
        if not os.path.isfile(xml_path):
            raise AnnotationError(f"{where}: '{stem}' has no {stem}.xml in {annotations}; add it or take the line out")
        if stem in xml_paths:
            findings.append(ReaderFinding("duplicate_image_id", f"{list_path.name}:{line}", stem, images=1))
        xml_paths.setdefault(stem, xml_path)
    return VocSplit([xml_paths[stem] for stem in sorted(xml_paths)], images, list_path)
