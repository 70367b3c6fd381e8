"""The result of an audit: totals, findings and statistics; as a table, as JSON and as a sheet of images."""
from __future__ import annotations

import errno
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Optional, Sequence, Union

import cv2
import numpy as np

from src.data.audit_policy import RULES
from src.data.drawing import contact_sheet, draw_boxes, fit
from src.data.images import read_image
from src.data.records import AnnotationSet, Record
from src.errors import DatasetError
from src.files import write_file
from src.ops.masks import bitmap
from src.printable import counted, printable

if TYPE_CHECKING:   # rich costs a tenth of a second, which only those who print need to spend
    from rich.table import Table
    from rich.text import Text

SMALL, LARGE = 32 ** 2, 96 ** 2  # COCO's limits of box sizes, in square pixels
SHEET_COLUMNS = 4
SHEET_IMAGES = 16
SHEET_CELL = (360, 480)
EXAMPLES = 5
ORIENTATIONS_FILE = "orientations.json"


@dataclass(frozen=True)
class Finding:
    """One defect: its kind, where it is, the value found, and what was done about it.

    images_dropped and boxes_dropped: what the data set lost because of it; a dropped image loses all its boxes.
    """

    kind: str
    where: str
    value: str
    action: str
    image_id: Optional[int] = None
    images_dropped: int = 0
    boxes_dropped: int = 0


@dataclass(frozen=True)
class Totals:
    images: int
    boxes: int

    @classmethod
    def of(cls, records: Sequence[Record]) -> Totals:
        return cls(len(records), sum(len(record.labels) for record in records))

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.images + other.images, self.boxes + other.boxes)


@dataclass(frozen=True)
class AuditReport:
    """The result of an audit; raises DatasetError if images or boxes were lost without a finding.

    annotations: the data set after the audit. before: totals of the annotation files.
    policy: the action used for each kind. with_masks: whether outlines were checked.
    """

    annotations: AnnotationSet
    before: Totals
    findings: tuple[Finding, ...]
    policy: dict[str, str]
    with_masks: bool = False
    after: Totals = field(init=False)
    dropped: Totals = field(init=False)

    def __post_init__(self) -> None:
        after = Totals.of(self.annotations.records)
        dropped = Totals(sum(f.images_dropped for f in self.findings), sum(f.boxes_dropped for f in self.findings))
        if self.before != after + dropped:
            raise DatasetError(f"{self.annotations.source}: the audit lost count: {self.before} before, {dropped} "
                               f"dropped, {after} after. This is a defect of the audit; please report it.")
        object.__setattr__(self, "after", after)
        object.__setattr__(self, "dropped", dropped)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings whose action is "error"."""
        return tuple(f for f in self.findings if f.action == "error")

    @property
    def max_objects(self) -> int:
        """The largest number of objects in one image, crowds not counted."""
        return max((int(np.sum(~record.crowd)) for record in self.annotations.records), default=0)

    def error_message(self) -> str:
        """The refused findings in a few lines: count per kind, the first few, what to do."""
        kinds = Counter(f.kind for f in self.errors)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        first = [f"  {f.kind}: {f.where}: {f.value}" for f in self.errors[:EXAMPLES]]
        more = len(self.errors) - len(first)
        if more:
            first.append(f"  and {more} more")
        return (f"{self.annotations.source}: the audit refuses {counted(len(self.errors), 'finding')} ({counts}):\n"
                + "\n".join(first) + "\n" + _advice(kinds))

    def statistics(self) -> dict[str, Any]:
        """Numbers of the data set after the audit; sizes in pixels, areas as in COCO's metric."""
        records = self.annotations.records
        labels = _joined([record.labels for record in records], np.int32)
        crowd = _joined([record.crowd for record in records], bool)
        areas = _joined([record.areas for record in records], np.float32)
        boxes = _joined([record.boxes.reshape(-1) for record in records], np.float64).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        images_per_class = Counter(int(label) for record in records for label in np.unique(record.labels))
        boxes_per_class = np.bincount(labels, minlength=len(self.annotations.classes))
        return {
            "empty_images": sum(len(record.labels) == 0 for record in records),
            "crowd_boxes": int(crowd.sum()),
            "difficult_boxes": int(sum(record.difficult.sum() for record in records)),
            "max_objects": self.max_objects,
            "objects_per_image": _spread([len(record.labels) for record in records]),
            "image_height": _spread([record.height for record in records]),
            "image_width": _spread([record.width for record in records]),
            "box_aspect_ratio": _spread(sides[:, 0] / sides[:, 1]),
            "box_sizes": {"small": int(np.sum(areas < SMALL)),
                          "medium": int(np.sum((areas >= SMALL) & (areas < LARGE))),
                          "large": int(np.sum(areas >= LARGE))},
            "classes": {name: {"boxes": int(boxes_per_class[i]), "images": images_per_class[i]}
                        for i, name in enumerate(self.annotations.classes)},
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole report in JSON types."""
        return {
            "source": str(self.annotations.source),
            "root": str(self.annotations.root),
            "format": self.annotations.format,
            "before": asdict(self.before),
            "dropped": asdict(self.dropped),
            "after": asdict(self.after),
            "unselected_boxes": self.annotations.unselected,
            "statistics": self.statistics(),
            "policy": self.policy,
            "finding_counts": dict(Counter(f.kind for f in self.findings)),
            "findings": [asdict(f) for f in self.findings],
        }

    def table(self) -> str:
        """The report as text for the terminal."""
        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=120, color_system=None, highlight=False)
        console.print(f"Audit of {printable(self.annotations.source)}", markup=False)
        statistics = self.statistics()
        for table in (self._totals_table(statistics), _spread_table(statistics), self._class_table(statistics),
                      self._finding_table()):
            console.print()
            console.print(table)
        return text.getvalue()

    def _totals_table(self, statistics: dict[str, Any]) -> Table:
        table = _table("", "before", "dropped", "after")
        for name in ("images", "boxes"):
            table.add_row(name, *(str(getattr(totals, name)) for totals in (self.before, self.dropped, self.after)))
        for name in ("empty_images", "crowd_boxes", "difficult_boxes"):
            table.add_row(name.replace("_", " "), "", "", str(statistics[name]))
        table.add_row("boxes of classes not selected", str(sum(self.annotations.unselected.values())), "", "")
        for name, count in statistics["box_sizes"].items():
            table.add_row(f"{name} boxes", "", "", str(count))
        return table

    def _class_table(self, statistics: dict[str, Any]) -> Table:
        table = _table("class", "boxes", "images")
        for name, counts in statistics["classes"].items():
            table.add_row(_plain(name), str(counts["boxes"]), str(counts["images"]))
        for name, boxes in sorted(self.annotations.unselected.items()):
            table.add_row(_plain(f"{name} (not selected)"), str(boxes), "")
        return table

    def _finding_table(self) -> Union[Table, str]:
        if not self.findings:
            return "No findings."
        groups: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault((finding.kind, finding.action), []).append(finding)
        table = _table("finding", "action", "count", "first")
        for (kind, action), findings in groups.items():
            table.add_row(kind, action, str(len(findings)), _plain(f"{findings[0].where}: {findings[0].value}"))
        return table

    def write(self, folder: Path) -> None:
        """Writes audit.json and audit.png into the folder, each under a new name first; and orientations.json for the
        C++ application, where boxes refer to images that are not turned as their files ask."""
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
            write_file(folder / "audit.json", text)
            self._write_orientations(folder / ORIENTATIONS_FILE)
            _, png = cv2.imencode(".png", cv2.cvtColor(self.sheet(), cv2.COLOR_RGB2BGR))
            write_file(folder / "audit.png", png.tobytes())
        except OSError as error:
            way_out = "make room" if error.errno == errno.ENOSPC else "choose another output folder"
            raise DatasetError(f"{folder}: the audit report cannot be written ({error.strerror}); {way_out}") from error

    def _write_orientations(self, path: Path) -> None:
        differing = {f.image_id for f in self.findings if f.kind == "exif_rotation"}
        orientations = {record.image_path.stem: record.orientation for record in self.annotations.records
                        if record.image_id in differing}
        if orientations:
            write_file(path, json.dumps(orientations, indent=0))
        else:
            path.unlink(missing_ok=True)

    def sheet(self) -> np.ndarray:
        """Up to 16 images of the audited data set with their boxes, those with the rarest findings first."""
        kinds: dict[Optional[int], set[str]] = {}
        for finding in self.findings:
            kinds.setdefault(finding.image_id, set()).add(finding.kind)
        images, captions = [], []
        for record in self._sheet_records(kinds):
            size = record.height, record.width
            stored = read_image(record.image_path, record.orientation, record.accepted_pixels)
            image, scale = fit(stored, SHEET_CELL)
            outlines = [_fitted(segment, size, image) for segment in record.segments or ()] if self.with_masks else None
            images.append(draw_boxes(image, record.boxes * (scale * 2), record.labels, self.annotations.classes,
                                     masks=outlines or None, crowd=record.crowd))
            captions.append(" ".join([record.image_path.name, *sorted(kinds.get(record.image_id, ()))]))
        return contact_sheet(images, SHEET_COLUMNS, SHEET_CELL, captions)

    def _sheet_records(self, kinds: dict[Optional[int], set[str]]) -> list[Record]:
        counts = Counter(f.kind for f in self.findings)
        records = self.annotations.records
        shuffled = [records[i] for i in np.random.default_rng(0).permutation(len(records))]
        shuffled.sort(key=lambda record: min((counts[kind] for kind in kinds.get(record.image_id, ())),
                                             default=len(self.findings) + 1))
        return shuffled[:SHEET_IMAGES]


def _advice(kinds: Counter) -> str:
    """What to do about refused kinds; names an action only if it cannot damage labels."""
    advised = [kind for kind in kinds if RULES[kind].advised]
    if not advised:
        return "Correct the data."
    policy = ",".join(f"{kind}={RULES[kind].advised}" for kind in advised)
    meanings = "; ".join(f"{kind}: {getattr(RULES[kind], RULES[kind].advised)}" for kind in advised)
    return f"Correct the data, or add --audit_policy {policy} ({meanings})"


def _fitted(segment: object, size: tuple[int, int], image: np.ndarray) -> np.ndarray | None:
    """An outline as a mask of an image that was resized from (height, width); None if there is no outline."""
    if not segment:
        return None
    return cv2.resize(bitmap(segment, *size), image.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(bool)


def _joined(arrays: Iterable[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *arrays])


def _spread(values: Union[Sequence[int], np.ndarray]) -> dict[str, float]:
    if len(values) == 0:
        return {"min": 0, "median": 0, "max": 0}
    return {"min": round(float(np.min(values)), 4), "median": round(float(np.median(values)), 4),
            "max": round(float(np.max(values)), 4)}


def _spread_table(statistics: dict[str, Any]) -> Table:
    table = _table("", "min", "median", "max")
    for name in ("objects_per_image", "image_width", "image_height", "box_aspect_ratio"):
        spread = statistics[name]
        table.add_row(name.replace("_", " "), *(f"{spread[key]:g}" for key in ("min", "median", "max")))
    return table


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(show_edge=False, pad_edge=False, box=None)
    for i, column in enumerate(columns):
        numeric = i > 0 and column not in ("action", "first")
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    return table


def _plain(text: str) -> Text:
    from rich.text import Text  # file and class names may contain brackets, which rich would read as markup

    return Text(printable(text))
