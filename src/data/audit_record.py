"""The audit's checks of one image and its objects."""
from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from src.data.audit_images import ImageFacts, orientation_of_boxes
from src.data.audit_report import Finding, Totals
from src.data.audit_set import SetFinding, is_scaled
from src.data.records import BadOutline, Record, Size, select_objects
from src.ops.masks import bitmap

MIN_SIDE = 0.01  # pixels; COCO writes two decimals, so a shorter side is rounded to 0
AREA_TOLERANCE = 1.01   # largest area / box area; boxes in the file are rounded
SMALL_AREA, SMALL_BOX = 1.0, 16.0   # square pixels: area <= 1 in a box >= 16 is a constant or a fraction
LEAST_OVERLAP = 0.5     # IoU of a box and the extent of its outline


class SetFacts(NamedTuple):
    """What the whole data set says about a single image.

    kind_of_wrong_sizes: from audit_set. exif_is_applied: from audit_images.
    """

    kind_of_wrong_sizes: str
    exif_is_applied: bool
    has_annotation_ids: bool


class RecordCheck:
    """Checks one record: adds to `findings`, and keeps in `record` what the policy leaves of it."""

    def __init__(self, record: Record, actions: dict[str, str], findings: list[Finding], known: SetFacts):
        self.record = record
        self._known = known
        self._actions = actions
        self._findings = findings

    def image(self, image: ImageFacts) -> bool:
        """Sets size and orientation of the record; returns False if the image and all its boxes are left out."""
        if image.path is not None:
            if not self._accept_image("unicode_name", f"the file is {ascii(image.path.name)}"):
                return False
            self.record = replace(self.record, image_path=image.path)
        if image.fault:
            return self._accept_image(image.fault, image.value)
        accepted = not image.outside or self._accept_image("outside_root", image.outside)
        orientation = orientation_of_boxes(self.record, image, self._known.exif_is_applied)
        found = image.size if orientation == 1 else image.turned_size
        if accepted:
            accepted = self._size(Size(self.record.height, self.record.width), found)
        if accepted and image.orientation != orientation:
            accepted = self._accept_image("exif_rotation", f"orientation {image.orientation}, but boxes are taken to "
                                          f"refer to the stored {image.size}")
        if accepted and image.depth:
            accepted = self._accept_image("bit_depth", image.depth)
        self.record = replace(self.record, height=found.height, width=found.width, orientation=orientation)
        return accepted

    def twin(self, name: str | None) -> bool:
        """Whether the image is kept although it has the content of a training image; None: it has not."""
        return name is None or self._accept_image("image_in_two_splits",
                                                  f"has the content of the training image {name}")

    def copy(self, found: SetFinding | None) -> bool:
        """Whether the image is kept although an earlier one has its content, which `found` says; None: none has."""
        return found is None or self._accept_image(found.kind, found.value)

    def _size(self, declared: Size, found: Size) -> bool:
        if 0 in declared:
            return self._accept_image("unknown_size", f"the image has {found}")
        if declared == found:
            return True
        kind = self._known.kind_of_wrong_sizes
        if declared == Size(found.width, found.height):
            kind = "size_disagreement"
        elif is_scaled(declared, found):
            kind = "resized_image"
        accepted = self._accept_image(kind, f"declared {declared}, the image has {found}")
        if kind != "size_disagreement" and self._actions[kind] == "repair":
            self.record = _scaled(self.record, found.width / declared.width, found.height / declared.height)
        return accepted

    def boxes(self, seen_ids: set[int]) -> None:
        """Checks ids, corners, area, position and uniqueness of the boxes; a box is dropped by at most one finding.

        seen_ids: annotation ids of the earlier records; the ids of this record are added.
        """
        record = self.record
        boxes = record.boxes.astype(np.float64)
        keep = np.ones(len(boxes), bool)
        for i in np.flatnonzero(_is_swapped(boxes)):
            keep[i] = self._accept_box("swapped_corners", i, _box_text(boxes[i]))
            boxes[i] = np.concatenate([np.minimum(boxes[i, :2], boxes[i, 2:]), np.maximum(boxes[i, :2], boxes[i, 2:])])
        clipped = boxes.clip(0, (record.width, record.height, record.width, record.height))
        degenerate = _has_no_area(boxes)
        outside = (boxes != clipped).any(axis=1) & ~degenerate
        vanishing = _has_no_area(clipped)
        seen_boxes = set()
        for i, same in enumerate(zip(*boxes.T.tolist(), record.labels.tolist(), record.crowd.tolist())):
            if keep[i] and record.object_ids[i] in seen_ids:
                keep[i] = self._accept_box("duplicate_annotation_id", i, record.object_ids[i])
            if keep[i] and degenerate[i]:
                keep[i] = self._accept_box("degenerate_box", i, _box_text(boxes[i]))
            if keep[i] and same in seen_boxes:
                keep[i] = self._accept_box("duplicate_box", i, _box_text(boxes[i]))
            if keep[i] and outside[i]:
                value = f"{_box_text(boxes[i])} in {Size(record.height, record.width)}"
                keep[i] = self._accept_box("outside_box", i, value, repairable=not vanishing[i])
            if keep[i]:
                seen_boxes.add(same)
            seen_ids.add(record.object_ids[i])
        self._areas(boxes, keep)
        if self._actions["outside_box"] == "repair":
            boxes[outside] = clipped[outside]
        self.record = _with_boxes(self.record, boxes.astype(np.float32), keep)

    def _areas(self, boxes: np.ndarray, keep: np.ndarray) -> None:
        """Checks that areas are above 0 and at most the box's area: the metric uses them to tell small objects."""
        record = self.record
        extents = np.abs(boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        areas = record.areas.astype(np.float64)
        wrong = (areas <= 0) | (areas > AREA_TOLERANCE * extents + 1) | ((areas <= SMALL_AREA) & (extents >= SMALL_BOX))
        for i in np.flatnonzero(wrong & keep):
            keep[i] = self._accept_box("area_disagreement", i, f"area {areas[i]:g}, the box has {extents[i]:g} pixels")
            areas[i] = _polygon_area(record.segments[i] if record.segments else None) or extents[i]
        if self._actions["area_disagreement"] == "repair":
            self.record = replace(record, areas=areas.astype(np.float32))

    def outlines(self) -> None:
        """Checks that every object has an outline that can be drawn into the image and covers its box."""
        record, size = self.record, Size(self.record.height, self.record.width)
        segments = list(record.segments or [[]] * len(record.labels))
        keep = np.ones(len(segments), bool)
        for i, segment in enumerate(segments):
            x1, y1, x2, y2 = record.boxes[i].tolist()
            box = [[x1, y1, x2, y1, x2, y2, x1, y2]]
            if isinstance(segment, BadOutline) or not segment:
                kind = "bad_outline" if segment else "missing_outline"
                keep[i] = self._accept_box(kind, i, segment or "neither polygons nor run lengths")
                segments[i] = box
                continue
            if isinstance(segment, dict):
                if tuple(segment["size"]) != size:
                    keep[i] = self._accept_box(
                        "outline_size", i, f"run lengths of {Size(*segment['size'])} in an image of {size}")
                    continue
            else:
                segments[i] = [_moved_inside(polygon, size) for polygon in segment]
                if segments[i] != segment:
                    keep[i] = self._accept_box("outside_outline", i, f"points beyond {size}")
            if keep[i] and not record.crowd[i]:
                extent = _extent(segments[i], size)
                if _iou(extent, record.boxes[i]) < LEAST_OVERLAP:
                    keep[i] = self._accept_box("outline_off_box", i, f"the outline spans {_box_text(extent)}, the box "
                                               f"{_box_text(record.boxes[i])}")
                    segments[i] = box
        self.record = _with_boxes(replace(record, segments=tuple(segments)), record.boxes, keep)

    def forget_bad_outlines(self) -> None:
        """Removes invalid outlines without a finding: a model without masks does not need them."""
        if self.record.segments:
            self.record = replace(self.record, segments=tuple([] if isinstance(segment, BadOutline) else segment
                                                              for segment in self.record.segments))

    def _accept_image(self, kind: str, value: str) -> bool:
        return self._accept(kind, "", value, self._actions[kind], Totals(1, len(self.record.labels)))

    def _accept_box(self, kind: str, i: int, value: object, repairable: bool = True) -> bool:
        action = self._actions[kind]
        if action == "repair" and not repairable:
            action = "drop"
        has_ids = self._known.has_annotation_ids
        part = f", annotation {self.record.object_ids[i]}" if has_ids else f", object {i + 1}"
        return self._accept(kind, part, value, action, Totals(0, 1))

    def _accept(self, kind: str, part: str, value: object, action: str, loss: Totals) -> bool:
        """Adds the finding; returns False if the action leaves out the object or image."""
        record = self.record
        if action not in ("error", "drop"):
            loss = Totals(0, 0)
        self._findings.append(Finding(kind, f"{record.source}, {record.image_path.name}{part}", str(value), action,
                                      record.image_id, loss.images, loss.boxes))
        return action not in ("error", "drop")


def _has_no_area(boxes: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        sides = boxes[:, 2:] - boxes[:, :2]
    return ~(np.isfinite(boxes).all(axis=1) & (sides >= MIN_SIDE).all(axis=1))


def _is_swapped(boxes: np.ndarray) -> np.ndarray:
    """Whether the corners are in the wrong order but the box has an area."""
    with np.errstate(invalid="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2]
    return (sides <= -MIN_SIDE).any(axis=1) & (np.abs(sides) >= MIN_SIDE).all(axis=1) & np.isfinite(boxes).all(axis=1)


def _scaled(record: Record, x: float, y: float) -> Record:
    """The record with boxes, areas and polygons scaled by (x, y); run lengths are not changed."""
    def scaled(segment: Any) -> Any:
        if not isinstance(segment, list):
            return segment
        return [[number * (y if index % 2 else x) for index, number in enumerate(polygon)] for polygon in segment]

    return replace(record, boxes=(record.boxes * np.array([x, y, x, y])).astype(np.float32),
                   areas=(record.areas * (x * y)).astype(np.float32),
                   segments=record.segments and tuple(map(scaled, record.segments)))


def _with_boxes(record: Record, boxes: np.ndarray, keep: np.ndarray) -> Record:
    """The record with new boxes and without the objects that `keep` marks False."""
    clipped = keep & (boxes != record.boxes).any(axis=1)
    # COCO's area is the outline's, which lies inside the image, so clipping can only reduce an area that is the box's.
    areas = record.areas.copy()
    areas[clipped] = np.minimum(areas[clipped], (boxes[clipped, 2:] - boxes[clipped, :2]).prod(axis=1))
    return select_objects(replace(record, boxes=boxes, areas=areas), keep)


def _moved_inside(polygon: list[float], size: Size) -> list[float]:
    """The polygon x, y, x, y, ... with every point clipped to an image of this size."""
    return [min(max(number, 0), size.height if index % 2 else size.width) for index, number in enumerate(polygon)]


def _polygon_area(segment: object) -> float:
    """The area of all polygons by the shoelace formula; 0 without polygons."""
    if not isinstance(segment, list):
        return 0.0
    points = [np.reshape(polygon, (-1, 2)) for polygon in segment]
    return float(sum(abs(np.dot(p[:, 0], np.roll(p[:, 1], 1)) - np.dot(p[:, 1], np.roll(p[:, 0], 1))) / 2
                     for p in points))


def _extent(segment: list | dict, size: Size) -> np.ndarray:
    """Bounding box x1, y1, x2, y2 of an outline; zeros if it covers nothing."""
    if isinstance(segment, dict):
        rows, columns = (np.flatnonzero(bitmap(segment, *size).any(axis=axis)) for axis in (1, 0))
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float) if len(rows) else np.zeros(4)
    if _polygon_area(segment) == 0:
        return np.zeros(4)
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segment])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    sides = (np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])).clip(0)
    areas = [np.prod(box[2:] - box[:2]) for box in (first, second)]
    return float(sides.prod() / max(sum(areas) - sides.prod(), 1e-9))


def _box_text(box: np.ndarray) -> str:
    return "{:g}, {:g} to {:g}, {:g}".format(*box)
