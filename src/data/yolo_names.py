"""The file of a YOLO data set that names its classes: data.yaml, which names the splits as well, or a plain list."""
from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Optional

from src.data.annotation_files import begins_with, existing_file, existing_folder, read_bytes, read_lines
from src.data.checks import checked_name
from src.errors import AnnotationError, ConfigError, UsageError
from src.printable import counted
from src.settings import yaml_text

YAML_NAMES = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
LISTS = ("classes.txt", "obj.names", "train/_darknet.labels")   # Label Studio and LabelImg; CVAT; Roboflow
SPLIT_KEYS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class YoloSet(NamedTuple):
    """root: folder of the data set. named_in: the file that holds the names. classes: names by number.

    splits: the folders and lists of each split as data.yaml writes them; None where a plain list names the classes.
    base: data.yaml's `path`. key_points: how many numbers of key points follow each box.
    """

    root: Path
    named_in: Path
    classes: dict[int, str]
    splits: Optional[dict[str, list[str]]] = None
    base: str = ""
    key_points: int = 0


def find_yolo_set(path: Optional[str]) -> YoloSet:
    """What yolo_root names: the folder of a data set, or its yaml file.

    Raises UsageError when nothing names the classes, AnnotationError for a file that makes no sense.
    """
    if path and Path(path).suffix.lower() in (".yaml", ".yml"):
        return _from_yaml(existing_file(path, "yolo_root").resolve())
    root = existing_folder(path, "yolo_root").resolve()
    chosen = _yaml_in(root)
    if chosen is not None:
        return _from_yaml(chosen)
    for name in LISTS:
        named_in = root / name
        if named_in.is_file():
            lines = enumerate(read_lines(named_in))
            return YoloSet(root, named_in, _checked({number: line.text for number, line in lines}, named_in))
    raise UsageError(f"{root}: no file names the classes; looked for {', '.join((*YAML_NAMES, *LISTS))}; set yolo_root")


def has_yaml(folder: Path) -> bool:
    """Whether a yaml file in the folder names classes."""
    yaml_files = [path for ending in ("*.yaml", "*.yml") for path in folder.glob(ending) if path.name[0] != "."]
    return any(begins_with(path, rb"(^|\n)names\s*:") for path in yaml_files)


def has_list(folder: Path) -> bool:
    """Whether a plain list in the folder names classes, perhaps those of another format."""
    return any((folder / name).is_file() for name in LISTS)


def _yaml_in(root: Path) -> Optional[Path]:
    """The yaml file in a data set's folder; raises UsageError where several could be meant."""
    for name in YAML_NAMES:
        if (root / name).is_file():
            return root / name
    others = sorted(path for ending in ("*.yaml", "*.yml") for path in root.glob(ending) if path.name[0] != ".")
    if len(others) > 1:
        raise UsageError(f"{root}: has {', '.join(path.name for path in others)}; name the one that describes the "
                         f"data set, for example --yolo_root {others[0]}")
    return others[0] if others else None


def _from_yaml(path: Path) -> YoloSet:
    try:
        text = read_bytes(path, yaml_text.MAX_BYTES).decode("utf-8-sig")
        documents, _ = yaml_text.parse(text, str(path), key_types=(str, int))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except ConfigError as error:
        raise AnnotationError(str(error)) from error
    content = documents[0] if documents and isinstance(documents[0], dict) else {}
    names = content.get("names")
    if not isinstance(names, (list, dict)):
        raise AnnotationError(f"{path}: 'names' has to list the class names, found {names!r}")
    classes = _checked(dict(enumerate(names)) if isinstance(names, list) else names, path)
    if content.get("nc", len(classes)) != len(classes):
        raise AnnotationError(f"{path}: nc is {content['nc']!r}, but 'names' has {counted(len(classes), 'name')}; "
                              "correct one")
    splits = {split: [entry for key in keys for entry in _entries(content, key, path)]
              for split, keys in SPLIT_KEYS.items()}
    return YoloSet(path.parent, path, classes, splits, str(content.get("path") or ""), _key_points(content, path))


def _key_points(content: dict, path: Path) -> int:
    """Numbers of key points in a row: kpt_shape is [points, numbers of each]."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    numbers = shape if isinstance(shape, list) else []
    if len(numbers) != 2 or not all(type(number) is int and number > 0 for number in numbers):
        raise AnnotationError(f"{path}: 'kpt_shape' has to be [points, 2 or 3], found {shape!r}")
    return numbers[0] * numbers[1]


def _entries(content: dict, key: str, path: Path) -> list[str]:
    """The folders or lists under a key; none where it is absent or empty."""
    value: Any = content.get(key)
    entries = value if isinstance(value, list) else [] if value in (None, "") else [value]
    if not all(isinstance(entry, str) and entry and "\0" not in entry for entry in entries):
        raise AnnotationError(f"{path}: '{key}' has to name folders or lists of images, found {value!r}")
    return entries


def _checked(names: dict, source: Path) -> dict[int, str]:
    """The names as text: a class may be called 0."""
    classes: dict[int, str] = {}
    for number, name in names.items():
        text = str(name).strip() if isinstance(name, (str, int)) and not isinstance(name, bool) else ""
        if type(number) is not int or number < 0 or not text:
            raise AnnotationError(f"{source}: class {number!r} is called {name!r}; a number from 0 and a name are "
                                  "expected; put a name that means something else in YAML in quotes")
        if text in classes.values():
            raise AnnotationError(f"{source}: the class '{text}' occurs twice; name each class once")
        classes[number] = checked_name(text)
    if not classes:
        raise AnnotationError(f"{source}: names no class")
    return dict(sorted(classes.items()))
