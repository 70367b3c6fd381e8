"""Sets with the usual mistakes of exports: each ends right or in a message that is true, in every reader.

`python tests/data/test_own_data_faults.py` prints the table of inputs: before, now.
"""
from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from predict import find_images  # noqa: E402
from src.data.annotations import load_split  # noqa: E402
from src.data.audit import examine  # noqa: E402
from src.data.audit_report import AuditReport  # noqa: E402
from src.data.images import read_image  # noqa: E402
from src.errors import ProjectError  # noqa: E402
from src.settings.schema import DataSection  # noqa: E402

DATA = ROOT.parent / "shared" / "faults" / "data"
SHAPES = ("circle", "rectangle", "triangle")


class Row(NamedTuple):
    """before: what commit 4221d26 made of the input. now: kinds of findings with their action, or the words of a
    message. right: what else has to hold."""

    name: str
    before: str
    now: dict[str, str] | str
    right: Callable[[AuditReport], bool] = lambda _: True
    masks: bool = False
    split: str = "train"


def coco(name: str) -> DataSection:
    return DataSection(dataset="coco", coco_root=str(DATA / name))


def voc(name: str) -> DataSection:
    return DataSection(dataset="voc", voc_root=str(DATA / name))


def rows(path: Path, images: Path, classes=SHAPES) -> DataSection:
    return DataSection(dataset="txt", image_dir=str(images), anno_path=str(path), classes=list(classes))


def settings(name: str) -> DataSection:
    """The settings that read an input."""
    path = DATA / name
    if name == "exif":
        return rows(path / "rows.txt", path, ["object"])
    if path.is_file():
        return rows(path, DATA / "base" / "train2017")
    return voc(name) if (path / "JPEGImages").is_dir() else coco(name)


def report(name: str, masks: bool = False, split: str = "train") -> AuditReport:
    return examine(load_split(settings(name), split), progress=False, with_masks=masks)


def boxes(found: AuditReport) -> list[np.ndarray]:
    return [record.boxes for record in found.annotations.records]


def same_boxes(other: str, factor: float = 1, atol: float = 0.01) -> Callable[[AuditReport], bool]:
    """Whether the audited boxes are those of another set, which is right."""
    def check(found: AuditReport) -> bool:
        expected = boxes(report(other))
        return len(expected) == len(boxes(found)) and all(
            one.shape == two.shape and np.allclose(one, two * factor, atol=atol)
            for one, two in zip(boxes(found), expected))

    return check


def areas_are_of_outlines(found: AuditReport) -> bool:
    return all(np.allclose(one.areas, two.areas, rtol=0.01)
               for one, two in zip(found.annotations.records, report("base").annotations.records))


def classes(*names: str) -> Callable[[AuditReport], bool]:
    return lambda found: found.annotations.classes == names


def images_end_in(ending: str) -> Callable[[AuditReport], bool]:
    return lambda found: all(record.image_path.suffix == ending for record in found.annotations.records)


def red_is_in_the_boxes(found: AuditReport) -> bool:
    for record in found.annotations.records:
        x1, y1, x2, y2 = record.boxes[0].round().astype(int)
        if read_image(record.image_path, record.orientation)[y1:y2, x1:x2, 0].mean() < 200:
            return False
    return True


def as_bright_as_base(found: AuditReport) -> bool:
    """The images are those of base in grey, 12 bits deep."""
    pairs = zip(found.annotations.records, report("base").annotations.records)
    return all(abs(read_image(one.image_path).mean() - read_image(two.image_path).mean()) < 32 for one, two in pairs)


ROWS = [
    Row("base", "right", {}),
    Row("voc", "right", {}),
    Row("halved", "boxes kept in pixels of the old size, 41 of 88 dropped, rc 0", {"resized_image": "repair"},
        same_boxes("base", 0.5, atol=0.6)),
    Row("dup_image_id", "advice to drop gave one image the objects of two", {"conflicting_image_id": "error"}),
    Row("dup_annotation_id", "advice to drop lost half of the objects", {"duplicate_annotation_id": "keep"},
        same_boxes("base")),
    Row("dup_file", "no finding; each copy taught that the rest is background", {"duplicate_file": "error"}),
    Row("rows_from_zero.txt", "advice to drop made every class the next one", {"class_offset": "error"}),
    Row("area_negative", "no finding; AP 1.0 with half of the objects", {"area_disagreement": "repair"},
        areas_are_of_outlines),
    Row("area_huge", "no finding; AP 1.0 with half of the objects", {"area_disagreement": "repair"},
        areas_are_of_outlines),
    Row("box_normalised", "no finding; no box at its object", {"relative_boxes": "error"}),
    Row("box_xyxy", "72 of 88 clipped, rc 0", {"many_bad_boxes": "error"}),
    Row("box_swapped", "dropped as boxes without area, rc 0", {"swapped_corners": "repair"}, same_boxes("base")),
    Row("rows_xywh.txt", "63 of 88 dropped, rc 0", {"many_bad_boxes": "error"}),
    Row("voc_swapped", "23 of 88 dropped, rc 0", {"swapped_corners": "repair"}, same_boxes("voc")),
    Row("outline_normalised", "no finding; mask loss 0", {"outline_off_box": "error"}, masks=True),
    Row("outline_line", "no finding; empty masks", {"outline_off_box": "error"}, masks=True),
    Row("exif", "half turns not turned in training", {"unknown_size": "repair"}, red_is_in_the_boxes),
    Row("voc_background", "trains 3 classes, evaluates 2", {"background_class": "keep"}, classes("cat", "dog")),
    Row("gray12in16", "black images, no finding", {"bit_depth": "repair"}, as_bright_as_base),
    Row("voc_same_stem", "the black .jpg instead of the .png, no finding", {"ambiguous_image": "keep"},
        images_end_in(".png")),
    Row("all_crowd", "advice led to a training on nothing", {"all_crowd": "error"}),
    Row("seg_empty_inner", "refused for models without masks", {}, same_boxes("base")),
    Row("seg_flat", "refused for models without masks", {}, same_boxes("base")),
    Row("seg_empty_inner", "refused, one object named", {"bad_outline": "error"}, masks=True),
    Row("seg_flat", "refused, one object named", {}, same_boxes("base"), masks=True),
    Row("roboflow_same_name", "refused: the name occurs twice", {}, classes("circle")),
    Row("val_lacks_class", "refused after the training files were written", {}, split="val"),
    Row("voc_apple", "refused: ._img_01.xml is not valid xml", {}, same_boxes("voc")),
    Row("voc_difficult_text", "expected a number, found 'Unspecified'",
        "object 1: difficult: expected a number, found 'Unspecified'"),
]
OTHER_TESTS = {"list_bom.txt"}


@pytest.fixture(autouse=True)
def _inputs():
    if not DATA.is_dir():
        pytest.skip("needs ../shared/faults/data")


def outcome(row: Row) -> dict[str, str] | str:
    """The kinds of findings with their action, those of the sheer format left out; or the message."""
    try:
        found = report(row.name, row.masks, row.split)
    except ProjectError as error:
        return str(error)
    assert row.right(found), row.name
    kinds = Counter((finding.kind, finding.action) for finding in found.findings)
    if any(action == "error" for _, action in kinds):
        return {kind: action for kind, action in kinds if action == "error"}
    return dict(kinds.keys())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}{'-masks' * row.masks}")
def test_an_input_ends_right_or_in_a_true_message(row):
    now = outcome(row)

    assert now == row.now if isinstance(row.now, dict) else row.now in now


def test_a_list_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes((DATA / "list_bom.txt").read_bytes())
    (tmp_path / "000000000009.jpg").write_bytes(b"")

    assert [path.name for path in find_images(str(tmp_path / "list.txt"))] == ["000000000009.jpg"]


def test_files_of_a_folder_that_are_left_out_are_counted(tmp_path, capsys):
    for name in ("a.jpg", "b.GIF", "c.gif", "d.webp", "notes", "._a.jpg"):
        (tmp_path / name).write_bytes(b"")

    assert [path.name for path in find_images(str(tmp_path))] == ["a.jpg", "d.webp"]
    assert "left out, not read as images: .gif (2), no ending (1)" in capsys.readouterr().out


def test_a_split_that_lacks_a_class_is_measured_with_the_classes_of_training():
    found = load_split(settings("val_lacks_class"), "val", SHAPES)

    assert found.classes == SHAPES and found.category_ids[1:] == (2, 3)


def test_every_input_has_a_row():
    assert {path.name for path in DATA.iterdir()} == {row.name for row in ROWS} | OTHER_TESTS


if __name__ == "__main__":
    for entry in ROWS:
        result = outcome(entry)
        text = result if isinstance(result, str) else \
            ", ".join(f"{kind}: {action}" for kind, action in result.items()) or "right, no finding"
        text = text.partition("\n")[0]
        print(f"| {entry.name}{' (masks)' * entry.masks} | {entry.before} | {text} |")
