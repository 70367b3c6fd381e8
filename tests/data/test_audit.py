import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.audit import audit, examine
from src.data.audit_policy import RULES, resolve_policy
from src.data.coco_json import load_coco
from src.data.drawing import CAPTION_HEIGHT, GAP
from src.data.images import encode_jpeg
from src.data.pascal_voc import load_voc
from src.data.records import AnnotationSet, LabelledBox, make_record
from src.data.txt_rows import load_txt
from src.errors import ConfigError, DatasetError

ROOT = Path(__file__).resolve().parents[2]
# Orientation 6 (turn by 90 degrees) as a little-endian TIFF directory of one entry.
EXIF_TURNED = (b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0" b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" b"\0\0\0\0")
DROP_ALL = {kind: "drop" for kind, rule in RULES.items() if rule.drop}
# What `one_of_each` has; the other kinds are those of outlines and of the whole set.
KINDS = ("outside_root", "missing_image", "unreadable_image", "truncated_image", "too_large_image", "unknown_size",
         "size_disagreement", "exif_rotation", "duplicate_image_id", "duplicate_annotation_id", "unknown_image",
         "unknown_class", "degenerate_box", "outside_box", "duplicate_box")
FIRST_BOX = [10, 10, 20, 30]  # x, y, width, height


def jpeg(height, width, darkest=0):
    rows = np.linspace(darkest, 255, height).astype(np.uint8)[:, None, None]
    return encode_jpeg(np.ascontiguousarray(np.broadcast_to(rows, (height, width, 3))))


def write_coco(folder, images, objects):
    """images: name -> (bytes or None, declared height, width); ids count from 1 in this order.
    objects: (annotation id, image id, category id, [x, y, width, height])."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for name, (content, _, _) in images.items():
        if content is not None:
            (pictures / name).write_bytes(content)
    content = {
        "images": [{"id": i, "file_name": name, "height": height, "width": width}
                   for i, (name, (_, height, width)) in enumerate(images.items(), 1)],
        "annotations": [{"id": object_id, "image_id": image_id, "category_id": category, "bbox": box, "iscrowd": 0}
                        for object_id, image_id, category, box in objects],
        "categories": [{"id": 3, "name": "ring"}, {"id": 7, "name": "disc"}],
    }
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "instances.json", pictures


@pytest.fixture
def one_of_each(tmp_path):
    """A COCO set with one of each defect; max_pixels is 100,000 in the tests that use it."""
    good = jpeg(100, 120)
    images = {
        "good.jpg": (good, 100, 120),                          # 1
        "missing.jpg": (None, 100, 120),                       # 2
        "text.jpg": (b"this is no image", 100, 120),         # 3
        "cut.jpg": (good[:len(good) // 2], 100, 120),          # 4
        "large.jpg": (jpeg(300, 400), 300, 400),               # 5: 120,000 pixels, the limit is 100,000
        "resized.jpg": (jpeg(98, 118), 100, 120),              # 6
        "undeclared.jpg": (jpeg(100, 120, 7), 0, 0),           # 7
        "turned.jpg": (good[:2] + EXIF_TURNED + good[2:], 100, 120),  # 8
        "../outside.jpg": (good, 100, 120),                    # 9
        "empty.jpg": (jpeg(100, 120, 10), 100, 120),           # 10
    }
    objects = [(image_id, image_id, 3, FIRST_BOX) for image_id in range(1, 10)] + [
        (20, 1, 7, [50, 50, 0, 10]),         # degenerate
        (21, 1, 7, [100, 90, 40, 20]),       # outside: 100, 90 to 140, 110 in 120 x 100
        (22, 1, 7, [500, 500, 10, 10]),      # outside, nothing remains
        (23, 1, 3, FIRST_BOX),               # duplicate box of annotation 1
        (1, 10, 7, FIRST_BOX),               # duplicate annotation id
        (24, 99, 3, FIRST_BOX),              # unknown image
        (25, 1, 5, FIRST_BOX),               # unknown class
    ]
    json_path, pictures = write_coco(tmp_path, images, objects)
    content = json.loads(json_path.read_text(encoding="utf-8"))
    content["images"].append({"id": 1, "file_name": "good.jpg", "height": 100, "width": 120})
    json_path.write_text(json.dumps(content), encoding="utf-8")
    return load_coco(json_path, pictures)


def kinds(report):
    return Counter(finding.kind for finding in report.findings)


def only(report, kind):
    finding, = (finding for finding in report.findings if finding.kind == kind)
    return finding


def test_each_defect_is_found_exactly_once(one_of_each):
    report = examine(one_of_each, max_pixels=100_000, progress=False)

    # Two boxes are outside: one is clipped, of the other nothing remains.
    assert kinds(report) == {**{kind: 1 for kind in KINDS}, "outside_box": 2}


def test_findings_name_file_id_and_value(one_of_each):
    report = examine(one_of_each, max_pixels=100_000, progress=False)

    box = only(report, "degenerate_box")
    assert box.where == "instances.json, good.jpg, annotation 20"
    assert (box.value, box.action) == ("50, 50 to 50, 60", "drop")
    assert only(report, "size_disagreement").value == "declared 120 x 100, the image has 118 x 98"
    assert only(report, "too_large_image").value == "400 x 300 is more than 100000 pixels"
    assert only(report, "unknown_image").where == "instances.json annotation 24"
    assert only(report, "unknown_class").value == "5"
    assert only(report, "duplicate_annotation_id").where == "instances.json, empty.jpg, annotation 1"
    assert [f.action for f in report.findings if f.kind == "outside_box"] == ["repair", "drop"]


def test_totals_before_and_after_add_up(one_of_each):
    audited, report = audit(one_of_each, DROP_ALL, max_pixels=100_000, progress=False)

    # 10 pictures and one entry with a used id; pictures 2 to 9 have a defect of their own.
    assert (report.before.images, report.dropped.images, report.after.images) == (11, 9, 2)
    # 16 objects: annotation 1 is the only one without a defect.
    assert (report.before.boxes, report.dropped.boxes, report.after.boxes) == (16, 15, 1)
    assert [record.image_path.name for record in audited.records] == ["good.jpg", "empty.jpg"]
    assert [record.object_ids for record in audited.records] == [(1,), ()]


def test_repairs_clip_boxes_and_take_the_size_of_the_image(one_of_each):
    policy = {**DROP_ALL, "outside_box": "repair", "size_disagreement": "repair", "unknown_size": "repair"}

    audited, _ = audit(one_of_each, policy, max_pixels=100_000, progress=False)

    good, resized, undeclared, _ = audited.records
    assert good.boxes.tolist() == [[10, 10, 30, 40], [100, 90, 120, 100]]
    assert good.areas.tolist() == [600, 200]
    assert good.labels.tolist() == [0, 1]
    assert (resized.height, resized.width) == (98, 118)
    assert (undeclared.height, undeclared.width) == (100, 120)


def test_kept_findings_change_nothing(one_of_each):
    policy = {**DROP_ALL, "outside_box": "keep", "duplicate_box": "keep", "duplicate_annotation_id": "keep",
              "exif_rotation": "keep"}

    audited, report = audit(one_of_each, policy, max_pixels=100_000, progress=False)

    good, turned, empty = audited.records
    assert good.object_ids == (1, 21, 22, 23)
    assert good.boxes[2].tolist() == [500, 500, 510, 510]
    assert (turned.height, turned.width) == (100, 120)
    assert empty.object_ids == (1,)
    assert only(report, "exif_rotation").action == "keep"


def test_refused_findings_are_collected_printed_and_counted(one_of_each, capsys):
    with pytest.raises(DatasetError) as refusal:
        audit(one_of_each, max_pixels=100_000, progress=False)

    message = str(refusal.value)
    errors = [kind for kind in KINDS if RULES[kind].default == "error"]
    assert f"the audit refuses {len(errors)} findings" in message
    assert all(f"1 {kind}" in message for kind in errors)
    assert "and 3 more" in message
    assert "instances.json" in message
    assert "missing_image" in capsys.readouterr().err


def test_a_turned_image_of_the_declared_size_is_no_finding(tmp_path):
    """Stored 120 x 100 with orientation 6 is 100 x 120 upright, which is what the annotation declares."""
    good = jpeg(100, 120)
    images = {"turned.jpg": (good[:2] + EXIF_TURNED + good[2:], 120, 100)}
    annotations = load_coco(*write_coco(tmp_path, images, [(1, 1, 3, [0, 0, 100, 120])]))

    audited, report = audit(annotations, progress=False)

    assert report.findings == ()
    assert (audited.records[0].height, audited.records[0].width) == (120, 100)


def test_the_area_of_an_outline_does_not_grow_or_shrink_by_clipping(tmp_path):
    images = {"a.jpg": (jpeg(100, 120), 100, 120)}
    json_path, pictures = write_coco(tmp_path, images, [(1, 1, 3, [100, 0, 40, 10])])
    content = json.loads(json_path.read_text(encoding="utf-8"))
    content["annotations"][0].update(area=90, segmentation=[[100, 0, 118, 0, 118, 10]])
    json_path.write_text(json.dumps(content), encoding="utf-8")

    audited, _ = audit(load_coco(json_path, pictures), progress=False)

    assert audited.records[0].boxes.tolist() == [[100, 0, 120, 10]]
    assert audited.records[0].areas.tolist() == [90]
    assert audited.records[0].segments == ([[100, 0, 118, 0, 118, 10]],)


@pytest.fixture
def outlined(tmp_path):
    """An image of 120 x 100 with five objects: a polygon inside, one outside, none, and two run lengths."""
    images = {"a.jpg": (jpeg(100, 120), 100, 120)}
    json_path, pictures = write_coco(tmp_path, images, [(number, 1, 3, [10 * number, 0, 9, 9])
                                                        for number in range(1, 6)])
    content = json.loads(json_path.read_text(encoding="utf-8"))
    columns = [4000, *[9, 91] * 8, 9, 12000 - 4809]  # rows 0 to 8 of columns 40 to 48
    segments = [[[10, 0, 19, 0, 19, 9]], [[20, -2e9, 29, 0, 29, 9]], [], {"size": [100, 120], "counts": columns},
                {"size": [120, 100], "counts": [12000]}]
    for entry, segment in zip(content["annotations"], segments):
        entry["segmentation"] = segment
    json_path.write_text(json.dumps(content), encoding="utf-8")
    return load_coco(json_path, pictures)


def test_outlines_are_looked_at_when_masks_are_wanted(outlined):
    assert examine(outlined, progress=False).findings == ()

    report = examine(outlined, progress=False, with_masks=True)

    assert {finding.kind: finding.where.rpartition(" ")[2] for finding in report.findings} == {
        "outside_outline": "2", "missing_outline": "3", "outline_size": "5"}
    assert only(report, "outline_size").value == "run lengths of 100 x 120 in an image of 120 x 100"
    assert [report.policy[kind] for kind in kinds(report)] == ["repair", "error", "error"]
    with pytest.raises(DatasetError, match="1 missing_outline"):
        audit(outlined, progress=False, with_masks=True)


def test_repaired_outlines_lie_inside_and_a_box_can_stand_for_a_missing_one(outlined):
    policy = {"missing_outline": "repair", "outline_size": "drop"}

    audited, report = audit(outlined, policy, progress=False, with_masks=True)

    assert audited.records[0].object_ids == (1, 2, 3, 4) and report.dropped.boxes == 1
    assert audited.records[0].segments == (
        [[10, 0, 19, 0, 19, 9]], [[20, 0, 29, 0, 29, 9]], [[30, 0, 39, 0, 39, 9, 30, 9]],
        {"size": [100, 120], "counts": [4000, *[9, 91] * 8, 9, 12000 - 4809]})


def test_a_link_that_leaves_the_root_is_not_opened(tmp_path, monkeypatch):
    (tmp_path / "secret.jpg").write_bytes(jpeg(10, 10))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    try:
        os.symlink(tmp_path / "secret.jpg", pictures / "a.jpg")
    except OSError:
        pytest.skip("this system makes no links")
    (tmp_path / "train.txt").write_text("a.jpg 1,1,5,5,1\n", encoding="utf-8")

    with monkeypatch.context() as patched:
        patched.setattr("src.data.audit_images.read_file", None)
        report = examine(load_txt(tmp_path / "train.txt", pictures, ["ring"]), progress=False)

    assert kinds(report) == {"outside_root": 1}
    assert only(report, "outside_root").where == "train.txt:1, a.jpg"
    assert f"leads to {tmp_path / 'secret.jpg'}, which is not below {pictures}" in only(report, "outside_root").value
    allowed = examine(load_txt(tmp_path / "train.txt", pictures, ["ring"]), {"outside_root": "keep"}, progress=False)
    assert not allowed.errors and allowed.after.images == 1


def test_statistics(tmp_path):
    images = {"a.jpg": (jpeg(200, 240), 200, 240), "b.jpg": (jpeg(100, 120), 100, 120)}
    objects = [(1, 1, 3, [0, 0, 31, 33]),      # area 1,023: small
               (2, 1, 3, [0, 0, 32, 32]),      # 1,024: medium
               (3, 1, 7, [0, 0, 192, 96])]     # 18,432: large, aspect ratio 2
    json_path, pictures = write_coco(tmp_path, images, objects)
    content = json.loads(json_path.read_text(encoding="utf-8"))
    content["annotations"][0]["iscrowd"] = 1
    json_path.write_text(json.dumps(content), encoding="utf-8")

    _, report = audit(load_coco(json_path, pictures), progress=False)

    assert report.max_objects == 2
    statistics = report.statistics()
    assert statistics["empty_images"] == 1
    assert statistics["crowd_boxes"] == 1
    assert statistics["box_sizes"] == {"small": 1, "medium": 1, "large": 1}
    assert statistics["objects_per_image"] == {"min": 0, "median": 1.5, "max": 3}
    assert statistics["image_width"] == {"min": 120, "median": 180, "max": 240}
    assert statistics["box_aspect_ratio"] == {"min": 0.9394, "median": 1, "max": 2}
    assert statistics["classes"] == {"ring": {"boxes": 2, "images": 1}, "disc": {"boxes": 1, "images": 1}}
    table = report.table()
    assert re.search(r"ring +2 +1\n", table)
    assert "No findings." in table


def test_the_report_is_written_as_json_and_as_a_sheet_of_16_images(tmp_path):
    images = {f"{i}.jpg": (jpeg(90, 120, darkest=5 * i), 90, 120) for i in range(1, 21)}
    objects = [(i, i, 3, FIRST_BOX) for i in range(1, 21)] + [(21, 20, 7, [5, 5, 0, 0])]
    _, report = audit(load_coco(*write_coco(tmp_path, images, objects)), progress=False)

    report.write(tmp_path / "report")

    content = json.loads((tmp_path / "report" / "audit.json").read_text(encoding="utf-8"))
    assert content["before"] == {"images": 20, "boxes": 21}
    assert content["dropped"] == {"images": 0, "boxes": 1}
    assert content["finding_counts"] == {"degenerate_box": 1}
    assert content["findings"][0]["where"] == "instances.json, 20.jpg, annotation 21"
    sheet = cv2.imread(str(tmp_path / "report" / "audit.png"))
    assert sheet.shape == (4 * (360 + GAP + CAPTION_HEIGHT) + GAP, 4 * (480 + GAP) + GAP, 3)
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["audit.json", "audit.png"]


def test_the_sheet_shows_images_with_findings_first(tmp_path):
    """Of 20 images in grey only the last, which has the finding, is white: it fills the first cell."""
    white = encode_jpeg(np.full((90, 120, 3), 255, np.uint8))
    images = {f"{i}.jpg": (jpeg(90, 120) if i < 20 else white, 90, 120) for i in range(1, 21)}
    _, report = audit(load_coco(*write_coco(tmp_path, images, [(1, 20, 7, [5, 5, 0, 0])])), progress=False)

    sheet = report.sheet()

    assert sheet[GAP:GAP + 360, GAP:GAP + 480].min() == 255


def test_an_empty_data_set_has_a_report(tmp_path):
    _, report = audit(AnnotationSet(("ring",), (1,), (), tmp_path, "coco", tmp_path / "a.json"), progress=False)

    report.write(tmp_path / "report")

    assert report.max_objects == 0
    assert (report.before.images, report.before.boxes) == (0, 0)


def test_boxes_of_a_second_row_and_of_classes_left_out_are_counted(tmp_path):
    (tmp_path / "1.jpg").write_bytes(jpeg(100, 120))
    (tmp_path / "train.txt").write_text("1.jpg 1,1,5,5,1\n1.jpg 1,1,5,5,1 2,2,9,9,1\n", encoding="utf-8")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in ("ring", "rign", "disc", "disc"))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.xml").write_text(f"<annotation>{objects}</annotation>", encoding="utf-8")
    (tmp_path / "train" / "1.jpg").write_bytes(jpeg(100, 120))

    rows = examine(load_txt(tmp_path / "train.txt", tmp_path, ["ring"]), progress=False)
    documents = examine(load_voc(tmp_path, "train", ["ring"]), progress=False)

    assert (rows.before.images, rows.before.boxes) == (2, 3)
    assert (rows.dropped.images, rows.dropped.boxes) == (1, 2)
    assert (documents.before.boxes, documents.after.boxes, documents.errors) == (1, 1, ())
    assert documents.to_dict()["unselected_boxes"] == {"rign": 1, "disc": 2}
    assert re.search(r"boxes of classes not selected +3 *\n", documents.table())
    assert re.search(r"rign \(not selected\) +1 *\n", documents.table())


def test_a_loss_without_a_finding_is_noticed(one_of_each):
    report = examine(one_of_each, max_pixels=100_000, progress=False)

    with pytest.raises(DatasetError, match="lost count"):
        replace(report, findings=report.findings[1:])


def test_a_box_that_is_lost_without_a_finding_is_noticed(one_of_each):
    report = examine(one_of_each, max_pixels=100_000, progress=False)
    of_a_box = next(finding for finding in report.findings if finding.boxes_dropped and not finding.images_dropped)
    kept = tuple(replace(finding, boxes_dropped=0) if finding is of_a_box else finding for finding in report.findings)

    with pytest.raises(DatasetError, match="lost count"):
        replace(report, findings=kept)


@pytest.mark.parametrize("policy, nearest", [
    ({"missing_images": "drop"}, "the nearest is 'missing_image'"),
    ({"missing_image": "dorp"}, "the nearest is 'drop'"),
    ({"missing_image": "repair"}, "possible are error, drop"),
    ({"missing_image": None}, "'None' is not an action"),
    ({3: "drop"}, "no kind of finding '3'"),
    (["drop"], "expected kinds with an action each"),
])
def test_a_policy_that_makes_no_sense_is_refused(policy, nearest):
    with pytest.raises(ConfigError, match=re.escape(nearest)):
        resolve_policy(policy)


def test_every_default_is_an_available_action():
    assert all(rule.default in rule.actions for rule in RULES.values())


FLOATS = st.one_of(st.floats(-2.0 ** 40, 2.0 ** 40, width=32), st.floats(-5, 45, width=32), st.floats(width=32),
                   st.sampled_from([0.0, -0.0, 30.0, 40.0, 1e-40, 29.999]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # areas of boxes without end
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=st.lists(st.tuples(FLOATS, FLOATS, FLOATS, FLOATS), max_size=6))
def test_every_kept_box_lies_in_its_image_and_has_an_area(tmp_path, boxes):
    (tmp_path / "a.jpg").write_bytes(jpeg(30, 40))
    record = make_record(tmp_path / "a.jpg", 1, (30, 40),
                         [LabelledBox(box, 0, i) for i, box in enumerate(boxes, 1)], "a.json")
    annotations = AnnotationSet(("ring",), (1,), (record,), tmp_path, "coco", tmp_path / "a.json")

    policy = {"many_bad_boxes": "keep", "relative_boxes": "keep"}
    audited, report = audit(annotations, policy, workers=1, progress=False)

    kept = audited.records[0].boxes
    assert np.isfinite(kept).all()
    assert (kept >= 0).all() and (kept <= [40, 30, 40, 30]).all()
    assert (kept[:, 2] > kept[:, 0]).all() and (kept[:, 3] > kept[:, 1]).all()
    assert len(kept) + sum(f.boxes_dropped for f in report.findings) == len(boxes)
    json.dumps(report.to_dict(), allow_nan=False)
    report.table()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_images_are_accepted_or_reported(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from([jpeg(8, 8), cv2.imencode(".png", np.zeros((8, 8, 3)))[1].tobytes(),
                                                   cv2.imencode(".bmp", np.zeros((8, 8, 3)))[1].tobytes()])))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    (tmp_path / "a.jpg").write_bytes(content[:data.draw(st.integers(0, len(content)))])
    (tmp_path / "train.txt").write_text("a.jpg 1,1,5,5,1\n", encoding="utf-8")

    report = examine(load_txt(tmp_path / "train.txt", tmp_path, ["ring"]), workers=1, max_pixels=10_000,
                     progress=False)

    assert report.before.images == report.after.images + report.dropped.images == 1


def test_a_box_without_extent_is_named_by_its_place_in_the_xml(tmp_path):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\nb\n")
    boxes = {"a": [(1, 1, 20, 20)], "b": [(1, 1, 9, 9), (20, 1, 30, 9), (1, 20, 9, 30), (40, 30, 40, 50)]}
    for stem, corners in boxes.items():
        (tmp_path / "JPEGImages" / f"{stem}.jpg").write_bytes(jpeg(60, 80, darkest=ord(stem)))
        objects = "".join(
            f"<object><name>RBC</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>" for x1, y1, x2, y2 in corners)
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.jpg</filename><size><width>80</width><height>60</height></size>{objects}"
            "</annotation>")

    audited, report = audit(load_voc(tmp_path, "train"), progress=False)

    assert (report.before.images, report.before.boxes) == (2, 5)
    assert [(f.kind, f.where, f.action) for f in report.findings] == [("degenerate_box", "b.xml, b.jpg, object 4",
                                                                       "drop")]
    assert [len(record.labels) for record in audited.records] == [1, 3]


def run_audit(*arguments):
    return subprocess.run([sys.executable, "audit.py", *map(str, arguments)], cwd=ROOT, text=True,
                          capture_output=True, timeout=60)


def test_command_line(tmp_path, one_of_each):
    pictures = one_of_each.root
    (tmp_path / "train.txt").write_text("good.jpg 10,10,30,40,1\nempty.jpg\n", encoding="utf-8")
    flags = ["--model_name", "ssd300", "--dataset", "other", "--image_dir", pictures, "--classes", "ring,disc",
             "--num_classes", "2", "--output_path", tmp_path / "report"]

    clean = run_audit(*flags, "--anno_path", tmp_path / "train.txt")
    (tmp_path / "bad.txt").write_text("good.jpg 10,10,30,40,1\nmissing.jpg 1,1,5,5,1\n", encoding="utf-8")
    refused = run_audit(*flags, "--anno_path", tmp_path / "bad.txt")
    accepted = run_audit(*flags, "--anno_path", tmp_path / "bad.txt", "--audit_policy", "missing_image=drop")
    wrong_use = run_audit(*flags, "--anno_path", tmp_path / "train.txt", "--split", "trian")

    assert clean.returncode == 0, clean.stderr
    assert "audit.png" in clean.stdout
    assert (tmp_path / "report" / "audit.png").is_file()
    assert refused.returncode == 1
    assert "bad.txt:2, missing.jpg" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr
    assert wrong_use.returncode == 2
