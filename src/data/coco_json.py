"""COCO instances JSON: reads it into records, and writes records in its form for the metrics.

Format: https://cocodataset.org/#format-data
"""
from __future__ import annotations

import re
import reprlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Sequence

from src.data.annotation_files import existing_file, existing_folder, read_bytes
from src.data.checks import (
    MAX_NUMBER,
    EntryErrors,
    checked_flag,
    checked_integer,
    checked_name,
    checked_number,
    unknown_classes,
)
from src.data.coco_layout import recognise_coco, with_slashes
from src.data.records import (
    AnnotationSet,
    BadOutline,
    DataSources,
    LabelledBox,
    ReaderFinding,
    Size,
    make_record,
    upright,
)
from src.errors import AnnotationError, UsageError
from src.files import parse_json
from src.settings.schema import DataSection, without_background

NUMBER = re.compile("[0-9]{1,18}")
_REQUIRED = object()


class _ListedImage(NamedTuple):
    file_name: str
    size: Size


class _Objects(NamedTuple):
    """by_image: LabelledBoxes by image id. unselected: number of objects of each class that is not selected."""

    by_image: dict[int, list[LabelledBox]]
    unselected: dict[str, int]


def read_split(data: DataSection, split: str, classes: Optional[Sequence[str]]) -> AnnotationSet:
    """The split below coco_root."""
    found = find_split(data, split)
    json_path, = found.annotation_files.values()
    return load_coco(json_path, found.image_root, classes, may_lack=split != "train")


def recognise(folder: Path) -> Optional[dict[str, str]]:
    """The settings that read the COCO files below folder; None without such files."""
    return recognise_coco(folder)


def find_split(data: DataSection, split: str) -> DataSources:
    """The files of a split; raises UsageError that names the setting if one is missing."""
    setting = f"{split}_data_type"
    instances = "test_instances_set" if split == "test" else "instances_set"
    data_type = getattr(data, setting)
    if not data_type:
        raise UsageError(f"{data.coco_root}: has no split '{split}': {setting} is empty; name it, or draw a "
                         "validation split with tools/split_dataset.py")
    root = existing_folder(data.coco_root, "coco_root")
    json_path = existing_file(root / getattr(data, instances).replace("{}", data_type),
                              f"coco_root, {instances} or {setting}")
    image_root = existing_folder(str(root / data.coco_images.replace("{}", data_type)),
                                 f"coco_root, coco_images or {setting}").resolve()
    return DataSources(root.resolve().name, {json_path.name: json_path}, image_root)


def load_coco(json_path: Path, image_root: Path, classes: Optional[Sequence[str]] = None,
              may_lack: bool = False) -> AnnotationSet:
    """Read instances with boxes, polygons and RLE; crowds are marked, images without objects are kept.

    classes: names that select the categories and order the labels; None takes all categories, ordered by id, without a
    leading "background". may_lack: whether the file may lack some of the classes; exports often list only the
    categories that occur in their split.
    Files without annotations (COCO's image_info of the test sets) give images without objects.
    Raises UsageError if the file is missing, AnnotationError if its content cannot be represented in records.
    """
    json_path, image_root = Path(json_path), Path(image_root).resolve()
    source = json_path.name
    content = _parse(json_path)
    annotations = _entries(content, "annotations", json_path) if "annotations" in content else []
    names = _category_names(_entries(content, "categories", json_path), source, _used_categories(annotations))
    no_classes = _no_classes(content["categories"], names, _used_categories(annotations)) if classes is None else set()
    category_ids = _select(names, classes, json_path, may_lack, no_classes)
    findings: list[ReaderFinding] = []
    images = _read_images(_entries(content, "images", json_path), source, findings)
    objects = _read_objects(annotations, source, images, names,
                            {category: label for label, category in enumerate(category_ids)}, findings)
    records = tuple(make_record(image_root / image.file_name, image_id, image.size, objects.by_image[image_id], source)
                    for image_id, image in sorted(images.items()))
    return AnnotationSet(classes=tuple(names[category] for category in category_ids), category_ids=category_ids,
                         records=records, root=image_root, format="coco", source=json_path,
                         findings=tuple(findings), unselected=objects.unselected)


def to_coco(annotations: AnnotationSet) -> dict[str, list[dict]]:
    """The ground truth in the form that pycocotools reads.

    Category and image ids are the original ones. Annotation ids are numbered again from 1, because pycocotools needs
    unique ids and uses 0 for "no match". VOC's difficult objects become crowds: both metrics ignore them, and
    pycocotools overwrites the field "ignore" with iscrowd.
    """
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for record in annotations.records:
        path, root = record.image_path, annotations.root
        images.append({"id": record.image_id, "height": record.height, "width": record.width,
                       "file_name": path.relative_to(root).as_posix() if root in path.parents else str(path)})
        for index, (x1, y1, x2, y2) in enumerate(record.boxes.tolist()):
            entry = {"id": len(objects) + 1, "image_id": record.image_id,
                     "category_id": annotations.category_ids[record.labels[index]],
                     "bbox": [x1, y1, x2 - x1, y2 - y1], "area": float(record.areas[index]),
                     "iscrowd": int(record.crowd[index] or record.difficult[index])}
            if record.segments and isinstance(record.segments[index], (list, dict)) and record.segments[index]:
                entry["segmentation"] = record.segments[index]
            objects.append(entry)
    categories = [{"id": category, "name": name}
                  for category, name in zip(annotations.category_ids, annotations.classes)]
    return {"images": images, "annotations": objects, "categories": categories}


def _parse(json_path: Path) -> dict:
    try:
        content = parse_json(read_bytes(json_path))
    except ValueError as error:
        raise AnnotationError(f"{json_path}: is not valid json: {error}") from error
    if not isinstance(content, dict):
        raise AnnotationError(f"{json_path}: expected the COCO form, an object with images, annotations and "
                              f"categories, found {reprlib.repr(content)}")
    return content


def _entries(content: dict, key: str, json_path: Path) -> list[dict]:
    entries = content.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise AnnotationError(f"{json_path}: '{key}' must be a list of objects, found {reprlib.repr(entries)}")
    return entries


def _field(entry: dict, key: str, check: Callable[[Any], Any], default: Any = _REQUIRED) -> Any:
    """The checked value of a field, or the default if it is absent or null."""
    value = entry.get(key)
    if value is None:
        if default is _REQUIRED:
            raise AnnotationError(f"'{key}' is missing")
        return default
    try:
        return check(value)
    except AnnotationError as error:
        raise AnnotationError(f"'{key}': {error}") from None


def _used_categories(annotations: list[dict]) -> set[int]:
    return {int(entry["category_id"]) for entry in annotations if NUMBER.fullmatch(str(entry.get("category_id")))}


def _category_names(entries: list[dict], source: str, used: set[int]) -> dict[int, str]:
    """The names by id. If two categories have one name, the one without objects is left out."""
    names: dict[int, str] = {}
    for position, entry in enumerate(entries):
        try:
            category, name = _field(entry, "id", _identifier), _field(entry, "name", checked_name)
        except AnnotationError as error:
            raise AnnotationError(f"{source} categories[{position}]: {error}") from None
        same = next((other for other, known in names.items() if known == name), None)
        if same is not None and category not in names and not {same, category} <= used:
            if same in used:
                continue
            del names[same]
        elif category in names or same is not None:
            raise AnnotationError(f"{source} categories[{position}]: id {category} or name '{name}' occurs twice; "
                                  "ids and names must be unique")
        names[category] = name
    return names


def _no_classes(entries: list[dict], names: dict[int, str], used: set[int]) -> set[int]:
    """Categories without objects that are none: labelme's _background_, and Roboflow's name of the project, which is
    the super-category of the others."""
    above = [entry.get("supercategory") for entry in entries if entry.get("supercategory") != entry.get("name")]
    if not used:
        return set()
    return {category for category, name in names.items()
            if category not in used and (name in above or name.strip("_").lower() == "background")}


def _select(names: dict[int, str], classes: Optional[Sequence[str]], json_path: Path,
            may_lack: bool, no_classes: set[int]) -> tuple[int, ...]:
    """The category ids in label order; adds an unused id to `names` for each class that the file lacks."""
    category_of = {name: category for category, name in names.items()}
    wanted = classes
    if wanted is None:
        wanted = without_background([names[category] for category in sorted(names) if category not in no_classes])
    unknown = [name for name in wanted if name not in category_of]
    if may_lack and len(unknown) < len(wanted):
        for name in unknown:
            category_of[name] = max(names) + 1
            names[category_of[name]] = name
    elif unknown:
        raise unknown_classes(json_path, unknown, wanted, list(category_of))
    return tuple(category_of[name] for name in wanted)


def _read_images(entries: list[dict], source: str, findings: list[ReaderFinding]) -> dict[int, _ListedImage]:
    """The images by id; adds to `findings`."""
    images: dict[int, _ListedImage] = {}
    errors = EntryErrors()
    for position, entry in enumerate(entries):
        try:
            image_id = _field(entry, "id", _identifier)
            file_name = with_slashes(_field(entry, "file_name", checked_name))
            size = Size(_field(entry, "height", _side, 0), _field(entry, "width", _side, 0))
        except AnnotationError as error:
            errors.add(f"{source} images[{position}] (id {reprlib.repr(entry.get('id'))})", error)
            continue
        if image_id in images:
            kind = "duplicate_image_id" if images[image_id].file_name == file_name else "conflicting_image_id"
            value = image_id if images[image_id].file_name == file_name else \
                f"{image_id} is also the id of '{images[image_id].file_name}', so its objects cannot be told apart"
            findings.append(ReaderFinding(kind, f"{source} images[{position}] '{file_name}'", value, images=1))
        else:
            images[image_id] = _ListedImage(file_name, size)
    errors.check()
    return images


def _read_objects(entries: list[dict], source: str, images: dict[int, _ListedImage], names: dict[int, str],
                  labels: dict[int, int], findings: list[ReaderFinding]) -> _Objects:
    """The objects of listed images and wanted classes; adds to `findings`."""
    objects, seen = defaultdict(list), set()
    unselected: Counter[str] = Counter()
    errors = EntryErrors()
    for position, entry in enumerate(entries):
        try:
            object_id, image_id, category = (_field(entry, key, _identifier)
                                             for key in ("id", "image_id", "category_id"))
            where = f"{source} annotation {object_id}"
            if object_id in seen:
                findings.append(ReaderFinding("duplicate_annotation_id", where, object_id))
            seen.add(object_id)
            if image_id not in images:
                findings.append(ReaderFinding("unknown_image", where, image_id, boxes=1))
            elif category not in names:
                findings.append(ReaderFinding("unknown_class", where, category, boxes=1))
            elif category not in labels:
                unselected[names[category]] += 1
            else:
                found = _read_object(entry, labels[category], object_id)
                turned = _turned(found, entry)
                if turned is not found:
                    findings.append(ReaderFinding("rotated_box", where, f"turned by {_rotation(entry):g} degrees"))
                objects[image_id].append(turned)
        except AnnotationError as error:
            errors.add(f"{source} annotations[{position}] (id {reprlib.repr(entry.get('id'))})", error)
    errors.check()
    return _Objects(objects, unselected)


def _read_object(entry: dict, label: int, object_id: int) -> LabelledBox:
    x, y, width, height = _field(entry, "bbox", _four_numbers)
    return LabelledBox(box=(x, y, x + width, y + height), label=label, object_id=object_id,
                       crowd=_field(entry, "iscrowd", checked_flag, False),
                       area=_field(entry, "area", checked_number, None),
                       segment=_segment_or_reason(entry.get("segmentation")))


def _rotation(entry: dict) -> float:
    """The angle in degrees of a box that CVAT's users have turned; `bbox` is the one before."""
    attributes = entry.get("attributes")
    return _field(attributes, "rotation", checked_number, 0.0) if isinstance(attributes, dict) else 0.0


def _turned(found: LabelledBox, entry: dict) -> LabelledBox:
    """The object with the upright box around a turned one; an outline has no need of it."""
    degrees = 0.0 if found.segment else _rotation(entry)
    return found if degrees % 360 == 0 else found._replace(box=upright(found.box, degrees), area=None)


def _identifier(value: object) -> int:
    """An id. VIA writes numbers as text, which can mean nothing else."""
    return checked_integer(int(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value)


def _side(value: object) -> int:
    return checked_integer(value, 0, 2 ** 31 - 1)


def _four_numbers(value: object) -> list[float]:
    if not isinstance(value, list) or len(value) != 4:
        raise AnnotationError(f"expected [x, y, width, height], found {reprlib.repr(value)}")
    return [checked_number(number) for number in value]


def _segment_or_reason(value: object) -> list | dict | BadOutline:
    """The outline, or the reason why it is invalid: only models with masks need it."""
    try:
        return _segment([] if value is None else value)
    except AnnotationError as error:
        return BadOutline(str(error))


def _segment(value: object) -> list | dict:
    """Polygons or a run-length encoding; an empty list is what many tools write for "box only"."""
    if isinstance(value, dict):
        return _run_lengths(value)
    if not isinstance(value, list):
        raise AnnotationError(f"expected polygons or a run-length encoding, found {reprlib.repr(value)}")
    if value and type(value[0]) in (int, float):    # VIA writes the points of its only polygon
        value = [value]
    for polygon in value:
        # Whole lists at a time: COCO train has 45 million of these numbers.
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2 \
                or not set(map(type, polygon)) <= {int, float} \
                or min(polygon) <= -MAX_NUMBER or max(polygon) >= MAX_NUMBER:
            raise AnnotationError("a polygon is a list of at least three points x, y, x, y, ... of finite numbers, "
                                  f"found {reprlib.repr(polygon)}")
    return value


def _run_lengths(value: dict) -> dict:
    """The encoding, after a check that its runs fill the image: the C code of pycocotools does not check it."""
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        raise AnnotationError(f"size: expected [height, width], found {reprlib.repr(size)}")
    height, width = (_side(side) for side in size)
    if isinstance(counts, list):
        runs = [checked_integer(run) for run in counts]
    elif isinstance(counts, str):
        runs = _decompressed(counts)
    else:
        raise AnnotationError(f"counts: expected a list or a text, found {reprlib.repr(counts)}")
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise AnnotationError(f"counts: the runs cover {sum(runs)} pixels, the size {height} x {width} "
                              f"has {height * width}")
    return value


def _decompressed(text: str) -> list[int]:
    """The runs of COCO's compressed form. Each character minus '0' holds 5 bits of a number; bit 6 says that more
    follow, and bit 5 of the last one is the sign. From the fourth run on, each number is the difference to the run two
    places before."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise AnnotationError(f"counts: {reprlib.repr(text)} is not a compressed run-length encoding")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise AnnotationError(f"counts: {reprlib.repr(text)} ends in the middle of a number")
    return runs
