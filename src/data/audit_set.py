"""The audit's checks of the whole set: boxes in another format, sizes of other images, shifted class numbers."""
from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from typing import Any, Callable, NamedTuple, Optional, Sequence

import numpy as np

from src.data.audit_images import ImageFacts
from src.data.records import AnnotationSet, ReaderFinding, Record, Size, select_objects
from src.printable import counted
from src.settings.data_formats import DATA_FORMATS

NEARLY_ALL = 0.98
BAD_SHARE = 0.1     # largest fraction of boxes that may be dropped or clipped
FEWEST_BAD = 5
FEWEST_BOXES = 3
FEW_NAMES = 3
LOST_PART = 0.1     # fraction of a box's area; annotation tools often let a box end one pixel outside
RELATIVE = 1.0001
NOTED_WRONGLY = 0.05    # largest part by which the sides of an image differ from those that were noted wrongly
ROUNDING = 1.0      # pixels by which a size may differ from the common ratio

FORMS = {   # what four numbers of a box may be -> corners of it
    "x1, y1, x2, y2": lambda a, b, c, d: (a, b, c, d),
    "x, y, width, height": lambda a, b, c, d: (a, b, a + c, b + d),
    "the centre, width and height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
}
NUMBERS = {     # corners -> the four numbers of each form
    "x1, y1, x2, y2": lambda x1, y1, x2, y2: (x1, y1, x2, y2),
    "x, y, width, height": lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
    "the centre, width and height": lambda x1, y1, x2, y2: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
}


class SetFinding(NamedTuple):
    """A finding about the whole set. where: an example."""

    kind: str
    where: str
    value: str


def set_findings(annotations: AnnotationSet) -> list[SetFinding]:
    """Findings about classes and crowds; they need no images."""
    records = annotations.records
    total = sum(len(record.labels) for record in records)
    source, found = annotations.source.name, []
    if total and sum(int(record.crowd.sum()) for record in records) == total:
        found.append(SetFinding("all_crowd", source, f"all objects ({total}) are marked iscrowd=1, so there is nothing "
                                "to learn; export them with iscrowd=0"))
    found += _background_findings(annotations)
    found += _similar_classes(annotations)
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *(record.labels for record in records)]).astype(int),
                         minlength=len(annotations.classes))
    if annotations.format == "yolo" and annotations.category_ids[0] == 0 and counts[0] == 0 and len(counts) > 2 \
            and counts[-1]:
        found.append(SetFinding("empty_class", source, f"'{annotations.classes[0]}', class 0, has no object; see "
                                "whether the labels count classes from 1"))
    for name, count in zip(annotations.classes, counts):
        if count == 0 and annotations.unselected:
            near = difflib.get_close_matches(name, annotations.unselected, n=1)
            kind = "absent_class" if near else "empty_class"
            others = [f"'{other}' ({counted(annotations.unselected[other], 'object')})"
                      for other in near or list(annotations.unselected)[:FEW_NAMES]]
            found.append(SetFinding(kind, source, f"'{name}' has no object; the annotations have {', '.join(others)}, "
                                    "which the settings leave out"))
        alike = {other: objects for other, objects in annotations.unselected.items()
                 if count and _letters(other) == _letters(name)}
        found += [SetFinding("absent_class", source, f"{counted(objects, 'object')} of '{other}' left out, because the "
                             f"class is '{name}'; write both alike") for other, objects in alike.items()]
    return found


def _similar_classes(annotations: AnnotationSet) -> list[SetFinding]:
    """Classes whose names differ in capitals, blanks and hyphens only: often one class, written in two ways."""
    alike: dict[str, list[str]] = {}
    for name in annotations.classes:
        alike.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    return [SetFinding("similar_classes", annotations.source.name, f"{' and '.join(map(repr, names))} are learned as "
                       f"{len(names)} classes; write them alike if they are one")
            for names in alike.values() if len(names) > 1]


def _letters(name: str) -> str:
    """A class name without what people write differently by accident."""
    return re.sub(r"[\W_]+", "", name).lower()


def _background_findings(annotations: AnnotationSet) -> list[SetFinding]:
    source = annotations.source.name
    learned = [name for name in annotations.classes if name.strip("_").lower() == "background"]
    left_out = [name for name in annotations.unselected if name.strip("_").lower() == "background"]
    values = [f"'{name}' is learned as a class; leave it out by naming the others in classes" for name in learned]
    values += [f"{counted(annotations.unselected[name], 'object')} of '{name}' left out; rename the class if they are "
               "to be found" for name in left_out]
    return [SetFinding("background_class", source, value) for value in values]


def with_class_offset(annotations: AnnotationSet) -> tuple[ReaderFinding, ...]:
    """The reader's findings; unknown classes become "class_offset" if all class numbers are off by a constant."""
    unknown = {int(str(found.value)) for found in annotations.findings if found.kind == "unknown_class"}
    known = set(annotations.category_ids)
    used = {annotations.category_ids[label] for record in annotations.records for label in np.unique(record.labels)}
    offset = _class_offset(known, used, unknown)
    if not offset:
        return annotations.findings
    numbers = ", ".join(str(number) for number in sorted(unknown)[:FEW_NAMES])
    reason = (f"classes count from {min(known)} to {max(known)}, but {numbers} occurs: "
              f"the numbers seem to be off by {abs(offset)}, and every object would get a wrong class")
    return tuple(found._replace(kind="class_offset", value=f"{found.value}; {reason}") if found.kind == "unknown_class"
                 else found for found in annotations.findings)


def _class_offset(known: set[int], used: set[int], unknown: set[int]) -> int:
    """What has to be added to all class numbers so that they are known ones, of which one is the first or the last; 0
    where nothing does. used: known numbers that occur. unknown: the others that do."""
    if not known or not unknown:
        return 0
    found = used | unknown
    offsets = (min(known) - min(found), max(known) - max(found))
    return next((offset for offset in offsets if offset and {number + offset for number in found} <= known), 0)


def is_scaled(declared: Size, found: Size) -> bool:
    """Whether an image of one size is an image of the other that was made smaller or larger, not one whose size was
    noted wrongly by some pixels."""
    ratio = found.height / declared.height
    rounding = ROUNDING * max(1, declared.width / declared.height)
    return abs(ratio - 1) > NOTED_WRONGLY and abs(found.width - ratio * declared.width) <= rounding


def kind_of_wrong_sizes(records: Sequence[Record], facts: Sequence[ImageFacts]) -> str:
    """The kind of finding for annotated sizes that differ from the images': "size_disagreement" if few differ,
    "resized_image" if most were scaled by one ratio, "wrong_size" if most differ without a common ratio."""
    pairs = [(Size(record.height, record.width), image.size) for record, image in zip(records, facts)
             if not image.fault and record.height and record.width]
    wrong = [(declared, found) for declared, found in pairs if declared not in (found, Size(found.width, found.height))]
    if len(wrong) <= len(pairs) / 2:
        return "size_disagreement"
    ratio = float(np.median([found.height / declared.height for declared, found in wrong]))
    same = [abs(found.height - ratio * declared.height) <= ROUNDING
            and abs(found.width - ratio * declared.width) <= ROUNDING for declared, found in wrong]
    return "resized_image" if np.mean(same) >= NEARLY_ALL else "wrong_size"


def box_findings(records: Sequence[Record], name: str) -> list[SetFinding]:
    """Findings about the format of the boxes; the records hold the real image sizes. name: annotation format."""
    boxes, sizes = _boxes_and_sizes(records)
    drawn = boxes[(boxes[:, 2:] != boxes[:, :2]).all(axis=1)]
    if len(drawn) >= FEWEST_BOXES:
        relative = np.any([(np.abs(numbers) <= RELATIVE).all(axis=1)
                           for numbers in (drawn, _as_width_and_height(drawn))], axis=0)
        if relative.mean() >= NEARLY_ALL:
            return [SetFinding("relative_boxes", records[0].source, f"{int(relative.sum())} of {len(boxes)} boxes lie "
                               "between 0 and 1 and seem to be fractions of the image; multiply them by its width and "
                               "height")]
    ordered = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    bad = _is_bad(ordered, sizes)
    swapped = (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    if (bad | swapped).sum() < max(FEWEST_BAD, BAD_SHARE * len(boxes)):
        return _boxes_in_another_form(boxes, sizes, records[0].source if records else "", name)
    form = _likely_form(boxes, sizes, DATA_FORMATS[name].boxes, _is_bad)
    if form:    # without a better form, swapped corners are reported box by box
        bad |= swapped
    if bad.sum() < FEWEST_BAD or bad.mean() <= BAD_SHARE:
        return []
    return [SetFinding("many_bad_boxes", records[0].source, f"{int(bad.sum())} of {len(boxes)} boxes have no area or "
                       f"lie at least partly outside their image; {form or 'audit.png shows how the boxes lie'}")]


class Merged(NamedTuple):
    """records: one per file; findings: one for each further record of a file; dropped: the objects lost with it."""

    records: list[Record]
    findings: list[SetFinding]
    dropped: list[int]


def merge_duplicates(records: Sequence[Record], merge: bool) -> Merged:
    """One record per file. merge: add the objects of further records to the first; otherwise they are dropped."""
    first: dict[str, int] = {}
    kept: list[Record] = []
    found, dropped = [], []
    for record in records:
        path = os.path.normpath(record.image_path)
        if path not in first:
            first[path] = len(kept)
            kept.append(record)
            continue
        original = kept[first[path]]
        new = _new_objects(original, record)
        holds = "each holds a part of the objects" if new.any() else "both hold the same objects"
        found.append(SetFinding("duplicate_file", f"{record.source}, {record.image_path.name}",
                                f"{original.source} and {record.source} name the same file (ids {original.image_id} "
                                f"and {record.image_id}); {holds}"))
        dropped.append(int(len(new) - new.sum()) if merge else len(new))
        if merge:
            kept[first[path]] = _merged(original, select_objects(record, new))
    return Merged(kept, found, dropped)


def _new_objects(first: Record, second: Record) -> np.ndarray:
    """(N,) bool: which objects of the second record the first one does not have."""
    known = set(zip(first.labels.tolist(), map(tuple, first.boxes.tolist())))
    return np.array([(label, tuple(box)) not in known
                     for label, box in zip(second.labels.tolist(), second.boxes.tolist())], bool)


def _merged(first: Record, second: Record) -> Record:
    segments: Optional[tuple[Any, ...]] = None
    if first.segments or second.segments:
        no_outline: Any = []
        segments = tuple(segment for record in (first, second)
                         for segment in record.segments or (no_outline,) * len(record.labels))
    joined = {name: np.concatenate([getattr(first, name), getattr(second, name)])
              for name in ("boxes", "labels", "crowd", "difficult", "areas")}
    return replace(first, **joined, segments=segments, object_ids=first.object_ids + second.object_ids)


def equal_images(records: Sequence[Record], facts: Sequence[ImageFacts]) -> list[Optional[SetFinding]]:
    """For each image the finding that an earlier one has the same content; None where none has."""
    first: dict[str, Record] = {}
    return [_about_copy(first.setdefault(image.digest, record), record) if image.digest else None
            for record, image in zip(records, facts)]


def _about_copy(first: Record, second: Record) -> Optional[SetFinding]:
    if first is second:
        return None
    where, same = second.image_path.name, f"has the content of {first.image_path.name}"
    objects = [sorted(zip(record.labels.tolist(), record.boxes.round().tolist())) for record in (first, second)]
    if objects[0] == objects[1]:
        return SetFinding("equal_images", where, f"{same} and the same objects")
    return SetFinding("contradictory_copies", where, f"{same}, but other objects ({len(objects[0])} there, "
                      f"{len(objects[1])} here): what one of them lacks is background in it")


def _boxes_and_sizes(records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
    """All boxes, (N, 4), and the width and height of each box's image, (N, 2)."""
    boxes = [np.empty((0, 4)), *(record.boxes.astype(np.float64) for record in records)]
    sizes = [np.empty((0, 2)), *(np.tile((float(record.width), float(record.height)), (len(record.boxes), 1))
                                 for record in records)]
    return np.concatenate(boxes), np.concatenate(sizes)


def _is_bad(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N,) bool: the box has no area, or more than LOST_PART of it is outside the image."""
    sides = boxes[:, 2:] - boxes[:, :2]
    limits = np.concatenate([sizes, sizes], axis=1)
    clipped = boxes.clip(0, limits)
    left = (clipped[:, 2:] - clipped[:, :2]).clip(0).prod(axis=1)
    return (sides <= 0).any(axis=1) | (left < (1 - LOST_PART) * sides.prod(axis=1))


def _boxes_in_another_form(boxes: np.ndarray, sizes: np.ndarray, source: str, name: str) -> list[SetFinding]:
    """Boxes that reach outside by a little only, but so often that another form is likelier, in which none does."""
    outside = _reaches_outside(boxes, sizes)
    if outside.sum() < FEWEST_BAD or outside.mean() <= BAD_SHARE:
        return []
    form = _likely_form(boxes, sizes, DATA_FORMATS[name].boxes, _reaches_outside)
    return [SetFinding("many_bad_boxes", source, f"{int(outside.sum())} of {len(boxes)} boxes reach outside their "
                       f"image; {form}")] if form else []


def _likely_form(boxes: np.ndarray, sizes: np.ndarray, expected: str,
                 is_wrong: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> str:
    """The box format in which nearly all boxes would lie inside their images; "" if none fits.

    expected: the form in which the boxes were read. is_wrong: (boxes, sizes) -> (N,) bool.
    """
    numbers = NUMBERS[expected](*boxes.T)
    corners = {form: np.stack(to_corners(*numbers), axis=1) for form, to_corners in FORMS.items()}
    corners["y before x"] = corners.pop(expected)[:, [1, 0, 3, 2]]
    shares = {form: 1 - is_wrong(candidate, sizes).mean() for form, candidate in corners.items()}
    best = max(shares, key=lambda form: shares[form])
    if shares[best] < NEARLY_ALL or len(boxes) < FEWEST_BAD:
        return ""
    return f"the numbers seem to be {best}, where {expected} is expected"


def _reaches_outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(N,) bool: the box has no area, or reaches outside the image by more than rounding."""
    beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - sizes).max(axis=1, initial=0)
    return (boxes[:, 2:] <= boxes[:, :2]).any(axis=1) | (beyond > ROUNDING)


def _as_width_and_height(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
