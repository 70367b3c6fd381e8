"""A validation split drawn from the images of a set: by content, and with all classes in both parts."""
from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Sequence

from src.data.annotation_files import existing_file, read_lines
from src.data.records import AnnotationSet, Record
from src.errors import AnnotationError

NO_OBJECTS = -1


def part_of(whole: AnnotationSet, split: str, val_list: str) -> AnnotationSet:
    """The images that a list names for "val", the others for "train".

    Findings of the reader and counts of classes that are not selected remain those of the whole set. Raises UsageError
    when there is no such file, AnnotationError (file:line) for a name that the set does not have.
    """
    path = existing_file(val_list, "val_list")
    names = {image_name(record, whole.root) for record in whole.records}
    listed = set()
    for line, name in read_lines(path):
        if name not in names:
            raise AnnotationError(f"{path}:{line}: '{name}' is not an image of {whole.source} in {whole.root}; correct "
                                  "the line, or remove the file and draw the split again")
        listed.add(name)
    if not listed:
        raise AnnotationError(f"{path}: names no image; remove the file and draw the split again")
    records = tuple(record for record in whole.records
                    if (image_name(record, whole.root) in listed) == (split == "val"))
    return replace(whole, records=records)


def image_name(record: Record, root: Path) -> str:
    """The image's path below root, with / between folders."""
    path = record.image_path
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def draw_validation_split(records: Sequence[Record], digests: Sequence[str], fraction: float, seed: int) -> list[bool]:
    """Whether each image is in the validation split.

    digests: hash of each image's content; images of one digest stay together. Going from the rarest class to the most
    frequent one, the fraction of the images that show it is drawn, at least one where there are two; images without
    objects count as a class. Images are ordered by hashes of seed and content, so that names, ids and the order of the
    records have no influence.
    """
    shown: dict[str, set[int]] = {}
    for record, digest in zip(records, digests):
        shown.setdefault(digest, set()).update(record.labels.tolist() or [NO_OBJECTS])
    order = sorted(shown, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).hexdigest())
    counts = Counter(label for labels in shown.values() for label in labels)
    chosen: dict[str, bool] = {}
    for label, count in sorted(counts.items(), key=lambda item: (item[1], item[0])):
        wanted = max(1, round(fraction * count)) if count > 1 else 0
        wanted -= sum(chosen.get(digest, False) for digest in order if label in shown[digest])
        for digest in order:
            if label in shown[digest] and digest not in chosen:
                chosen[digest] = wanted > 0
                wanted -= 1
    return [chosen[digest] for digest in digests]
