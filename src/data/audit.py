"""The audit: every image and every box is looked at once, before anything is trained on them."""
from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np
from tqdm import tqdm

from src.data.audit_policy import resolve_policy
from src.data.audit_report import AuditReport, Finding, Totals
from src.data.images import MAX_PIXELS, decode_image, exif_orientation, image_size, is_complete
from src.data.records import inside
from src.errors import DatasetError, ImageError
from src.settings.data_formats import DATA_FORMATS

MIN_SIDE = 0.01  # pixels; COCO writes two decimals, a shorter side is rounded away


def audit(annotations, policy=None, max_pixels=MAX_PIXELS, workers=None, progress=True, with_masks=False):
    """Check a data set and return (AnnotationSet as the policy leaves it, AuditReport).

    policy: mapping from kinds of `RULES` to actions; kinds not named keep their default.
    max_pixels: largest image accepted, width x height. workers: threads that decode images, None = all cores.
    with_masks: whether outlines are needed; without, they are not looked at.
    Raises ConfigError for a policy that makes no sense; DatasetError, after printing the table to stderr, when there
    are findings whose action is "error".
    """
    report = examine(annotations, policy, max_pixels, workers, progress, with_masks)
    if report.errors:
        print(report.table(), file=sys.stderr)
        raise DatasetError(report.error_message())
    return report.annotations, report


def examine(annotations, policy=None, max_pixels=MAX_PIXELS, workers=None, progress=True, with_masks=False):
    """Like `audit`, but returns the AuditReport also when the policy refuses the data set.

    What a refused finding concerns is left out of the report's annotations, as if it had been dropped.
    """
    actions = resolve_policy(policy)
    # Objects of a duplicate annotation id are not missing; they are found among the records.
    findings = [Finding(found.kind, found.source, str(found.value), actions[found.kind],
                        images_dropped=found.images, boxes_dropped=found.boxes)
                for found in annotations.findings if found.images or found.boxes]
    before = sum((Totals(f.images_dropped, f.boxes_dropped) for f in findings), Totals.of(annotations.records))
    audited, seen_ids = [], set()
    images = _look_at_all(annotations, max_pixels, workers, progress)
    for image, record in zip(images, annotations.records):
        check = _RecordCheck(record, actions, findings, has_annotation_ids=DATA_FORMATS[annotations.format].has_ids)
        if check.image(image):
            check.boxes(seen_ids)
            if with_masks:
                check.outlines()
            audited.append(check.record)
    return AuditReport(replace(annotations, records=tuple(audited), findings=()), before, tuple(findings), actions)


@dataclass(frozen=True)
class _Image:
    """What a file holds: a kind of finding that makes it useless, or sizes (height, width) and EXIF orientation.

    stored_size: of the pixels in the file; size: after the turn that the declared size asks for.
    """

    fault: str = ""
    value: str = ""
    stored_size: Optional[tuple] = None
    size: Optional[tuple] = None
    orientation: int = 1


def _look_at_all(annotations, max_pixels, workers, progress):
    """Yields the _Image of each record, in order. Threads suffice: OpenCV decodes without holding Python's lock."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        images = pool.map(lambda record: _look_at(record, annotations.root, max_pixels), annotations.records)
        yield from tqdm(images, "audit", len(annotations.records), unit="image",
                        disable=None if progress else True)
    finally:  # Ctrl-C must not wait for the images that are still queued
        pool.shutdown(cancel_futures=True)


def _look_at(record, root, max_pixels):
    path, declared = record.image_path, (record.height, record.width)
    if not inside(root, path):
        return _Image("outside_root", f"{path} is not below {root}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Image("missing_image", f"{path} does not exist")
    except OSError as error:
        return _Image("unreadable_image", f"{path}: {error.strerror}")
    try:
        stored = image_size(data, path.name)
        if stored[0] * stored[1] > max_pixels:
            return _Image("too_large_image", f"{_size_text(stored)} is more than {max_pixels} pixels")
        if not is_complete(data):
            return _Image("truncated_image", f"{len(data)} bytes, the file breaks off before the end of the image")
        image = decode_image(data, path.name, declared, max_pixels)
    except ImageError as error:
        return _Image("unreadable_image", str(error).removeprefix(f"{path.name}: "))
    return _Image(stored_size=stored, size=image.shape[:2], orientation=exif_orientation(data))


class _RecordCheck:
    """The checks of one record: adds to `findings`, and holds in `record` what the policy leaves of it."""

    def __init__(self, record, actions, findings, has_annotation_ids):
        self.record = record
        self._has_annotation_ids = has_annotation_ids
        self._actions = actions
        self._findings = findings

    def image(self, image):
        """Settles the size of the record; False when the image and all its boxes are left out."""
        if image.fault:
            return self._accept_image(image.fault, image.value)
        declared = self.record.height, self.record.width
        if 0 in declared:
            accepted = self._accept_image("unknown_size", f"the image has {_size_text(image.size)}")
        elif declared != image.size:
            accepted = self._accept_image(
                "size_disagreement", f"declared {_size_text(declared)}, the image has {_size_text(image.size)}")
        else:
            accepted = True
        if accepted and image.orientation != 1 and image.size == image.stored_size:
            accepted = self._accept_image("exif_rotation", f"orientation {image.orientation}, but boxes are taken "
                                            f"to refer to the stored {_size_text(image.stored_size)}")
        self.record = replace(self.record, height=image.size[0], width=image.size[1])
        return accepted

    def boxes(self, seen_ids):
        """Checks ids, area, place and uniqueness of the boxes; at most one finding per box takes it out.

        seen_ids: annotation ids of the records before; those of this record are added.
        """
        record = self.record
        boxes = record.boxes.astype(np.float64)
        clipped = boxes.clip(0, (record.width, record.height, record.width, record.height))
        degenerate = _has_no_area(boxes)
        outside = (boxes != clipped).any(axis=1) & ~degenerate
        vanishing = _has_no_area(clipped)
        keep = np.ones(len(boxes), bool)
        seen_boxes = set()
        for i, same in enumerate(zip(*boxes.T.tolist(), record.labels.tolist(), record.crowd.tolist())):
            if record.object_ids[i] in seen_ids:
                keep[i] = self._accept_box("duplicate_annotation_id", i, record.object_ids[i])
            if keep[i] and degenerate[i]:
                keep[i] = self._accept_box("degenerate_box", i, _box_text(boxes[i]))
            if keep[i] and same in seen_boxes:
                keep[i] = self._accept_box("duplicate_box", i, _box_text(boxes[i]))
            if keep[i] and outside[i]:
                value = f"{_box_text(boxes[i])} in {_size_text((record.height, record.width))}"
                keep[i] = self._accept_box("outside_box", i, value, repairable=not vanishing[i])
                if self._actions["outside_box"] == "repair":
                    boxes[i] = clipped[i]
            if keep[i]:
                seen_boxes.add(same)
            seen_ids.add(record.object_ids[i])
        self.record = _with_boxes(record, boxes.astype(np.float32), keep)

    def outlines(self):
        """Checks that every object has an outline which can be drawn into the image."""
        record, size = self.record, [self.record.height, self.record.width]
        segments = list(record.segments or [[]] * len(record.labels))
        keep = np.ones(len(segments), bool)
        for i, segment in enumerate(segments):
            if not segment:
                keep[i] = self._accept_box("missing_outline", i, "neither polygons nor run lengths")
                x1, y1, x2, y2 = record.boxes[i].tolist()
                segments[i] = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            elif isinstance(segment, dict):
                if segment["size"] != size:
                    keep[i] = self._accept_box("outline_size", i, f"run lengths of {_size_text(segment['size'])} in an "
                                               f"image of {_size_text(size)}")
            else:
                segments[i] = [_moved_inside(polygon, size) for polygon in segment]
                if segments[i] != segment:
                    keep[i] = self._accept_box("outside_outline", i, f"points beyond {_size_text(size)}")
        self.record = _with_boxes(replace(record, segments=tuple(segments)), record.boxes, keep)

    def _accept_image(self, kind, value):
        return self._accept(kind, "", value, self._actions[kind], Totals(1, len(self.record.labels)))

    def _accept_box(self, kind, i, value, repairable=True):
        action = self._actions[kind]
        if action == "repair" and not repairable:
            action = "drop"
        part = f", annotation {self.record.object_ids[i]}" if self._has_annotation_ids else f", object {i + 1}"
        return self._accept(kind, part, value, action, Totals(0, 1))

    def _accept(self, kind, part, value, action, loss):
        """Adds the finding; False when the action leaves out what it concerns."""
        record = self.record
        if action not in ("error", "drop"):
            loss = Totals(0, 0)
        self._findings.append(Finding(kind, f"{record.source}, {record.image_path.name}{part}", str(value), action,
                                      record.image_id, loss.images, loss.boxes))
        return action not in ("error", "drop")


def _has_no_area(boxes):
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        sides = boxes[:, 2:] - boxes[:, :2]
    return ~(np.isfinite(boxes).all(axis=1) & (sides >= MIN_SIDE).all(axis=1))


def _with_boxes(record, boxes, keep):
    """The record with its boxes replaced, and only those objects that are kept."""
    clipped = keep & (boxes != record.boxes).any(axis=1)
    # COCO's area is that of the outline, which lies inside the image: only a box area can shrink by clipping.
    areas = record.areas.copy()
    areas[clipped] = np.minimum(areas[clipped], (boxes[clipped, 2:] - boxes[clipped, :2]).prod(axis=1))
    indices = np.flatnonzero(keep)
    return replace(record, boxes=boxes[keep], labels=record.labels[keep], crowd=record.crowd[keep],
                   difficult=record.difficult[keep], areas=areas[keep],
                   segments=record.segments and tuple(record.segments[i] for i in indices),
                   object_ids=tuple(record.object_ids[i] for i in indices))


def _moved_inside(polygon, size):
    """The polygon x, y, x, y, ... with every point in an image of (height, width)."""
    height, width = size
    return [min(max(number, 0), height if index % 2 else width) for index, number in enumerate(polygon)]


def _size_text(size):
    return f"{size[1]} x {size[0]}"


def _box_text(box):
    return "{:g}, {:g} to {:g}, {:g}".format(*box)
