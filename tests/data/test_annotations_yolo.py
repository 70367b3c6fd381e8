"""The YOLO reader: layouts, rows, class names, and what is refused."""
from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.annotations import load_split
from src.data.audit import audit
from src.data.identity import request_of
from src.data.images import encode_jpeg
from src.data.records import ReaderFinding
from src.errors import AnnotationError, ConfigError, DatasetError, ProjectError, UsageError
from src.settings.schema import DataSection

ROW = "1 0.5 0.5 0.5 0.25\n"      # in 40 x 20 pixels: 10, 7.5 to 30, 12.5


def image(path, height=20, width=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(np.zeros((height, width, 3), np.uint8)))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def load(root, split="train", **changed):
    return load_split(DataSection(dataset="yolo", yolo_root=str(root), **changed), split)


@pytest.fixture
def small(tmp_path):
    """One image with one object of the second class, in Ultralytics' layout."""
    write(tmp_path / "data.yaml", "train: images\nnames: [cat, dog]\n")
    write(tmp_path / "labels" / "7.txt", ROW)
    image(tmp_path / "images" / "7.jpg")
    return tmp_path


LAYOUTS = {  # program: (files with text, image of the training split, its label)
    "Roboflow": ({"data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n"},
                 "train/images/7.jpg", "train/labels/7.txt"),
    "Roboflow darknet": ({"train/_darknet.labels": "cat\ndog\n"}, "train/7.jpg", "train/7.txt"),
    "Ultralytics": ({"coco8.yaml": "path: ../datasets/coco8\ntrain: images/train\nval: images/val\n"
                                   "names:\n  0: cat\n  1: dog\n"}, "images/train/7.jpg", "labels/train/7.txt"),
    "CVAT Ultralytics": ({"data.yaml": "path: .\ntrain: train.txt\nnames:\n  0: cat\n  1: dog\n",
                          "train.txt": "data/images/train/7.jpg\n"}, "images/train/7.jpg", "labels/train/7.txt"),
    "CVAT YOLO 1.1": ({"obj.names": "cat\ndog\n", "obj.data": "classes = 2\ntrain = data/train.txt\n",
                       "train.txt": "data/obj_train_data/7.jpg\n"}, "obj_train_data/7.jpg", "obj_train_data/7.txt"),
    "Label Studio": ({"classes.txt": "cat\ndog\n", "notes.json": "{}"}, "images/7.jpg", "labels/7.txt"),
    "LabelImg": ({"classes.txt": "cat\ndog\n"}, "7.jpg", "7.txt"),
}


@pytest.mark.parametrize("program", LAYOUTS)
def test_the_layouts_that_labelling_programs_export(tmp_path, program):
    texts, image_name, label_name = LAYOUTS[program]
    for name, text in {**texts, label_name: ROW}.items():
        write(tmp_path / name, text)
    image(tmp_path / image_name)

    annotations = load(tmp_path)

    record, = annotations.records
    assert annotations.classes == ("cat", "dog") and annotations.category_ids == (0, 1)
    assert record.image_path == tmp_path.resolve() / image_name and record.source == label_name
    assert record.boxes.tolist() == [[10, 7.5, 30, 12.5]] and record.labels.tolist() == [1]
    assert (record.image_id, record.height, record.width, record.segments) == (7, 20, 40, None)
    assert audit(annotations, progress=False).report.findings == ()
    with pytest.raises(UsageError, match="'?val'?"):
        load(tmp_path, "val")


def test_a_polygon_is_an_outline_with_the_box_around_it(small):
    write(small / "labels" / "7.txt", "0 0.25 0.5 0.75 0.5 0.5 1\n")

    record, = load(small).records

    assert record.segments == ([[10, 10, 30, 10, 20, 20]],) and record.boxes.tolist() == [[10, 10, 30, 20]]


def test_an_image_without_a_label_file_has_no_objects(small):
    image(small / "images" / "8.jpg")

    assert [len(record.boxes) for record in load(small).records] == [1, 0]


def test_classes_select_and_order(small):
    write(small / "labels" / "7.txt", ROW + "0 0.5 0.5 0.1 0.1\n")

    annotations = load(small, classes=["dog"])

    assert annotations.category_ids == (1,) and annotations.records[0].labels.tolist() == [0]
    assert annotations.unselected == {"cat": 1}
    with pytest.raises(ConfigError, match="data.yaml: has no class named eel; classes asks for eel; .* cat, dog"):
        load(small, classes=["eel"])


def test_boxes_are_in_the_image_that_exif_turns(small):
    """Half turns show in no size; a reader of fractions knows nevertheless which image its boxes are in."""
    for orientation, name in ((3, "7.jpg"), (6, "8.jpg")):
        path = small / "images" / name
        image(path)
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
        data = path.read_bytes()
        path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
        write(small / "labels" / f"{path.stem}.txt", "0 0.25 0.125 0.5 0.25\n")

    audited = audit(load(small), progress=False)

    half, quarter = audited.annotations.records
    assert (half.orientation, half.height, half.width) == (3, 20, 40) and half.boxes.tolist() == [[0, 0, 20, 5]]
    assert (quarter.orientation, quarter.height, quarter.width) == (6, 40, 20)
    assert quarter.boxes.tolist() == [[0, 0, 10, 10]] and audited.report.findings == ()


@pytest.mark.parametrize("row, message", [
    ("0 320 240 50 60", "320 is not a fraction of the image; divide"),
    ("0 0.5 0.5 0.5", "has 3 numbers behind the class"),
    ("0 0.5 0.5 0.5 0.5 0.9", "has 5 numbers behind the class; .* a score is no label"),
    ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "has 7 numbers"),
    ("cat 0.5 0.5 0.5 0.5", "expected a number, found 'cat'"),
    ("0.5 0.5 0.5 0.5 0.5", "expected a whole number"),
    ("0 nan 0.5 0.5 0.5", "expected a finite number"),
])
def test_a_row_that_is_no_object_is_named_by_file_and_line(small, row, message):
    write(small / "labels" / "7.txt", f"{ROW}\n{row}\n")

    with pytest.raises(AnnotationError, match=f"7.txt:3: .*{message}"):
        load(small)


def test_wrong_rows_are_counted_and_the_first_are_shown(small):
    write(small / "labels" / "7.txt", "0 320 240 50 60\n" * 7)

    with pytest.raises(AnnotationError, match="(?s)7 entries cannot be read:.*7.txt:1: 320 .*7.txt:5: .*and 2 more"):
        load(small)


def test_a_name_that_no_file_can_have_is_an_image_that_is_missing(small):
    write(small / "data.yaml", "train: list.txt\nnames: [cat, dog]\n")
    write(small / "list.txt", "images/7.jpg\n" + "x" * 5000 + ".jpg\n")

    assert [record.image_path.name[:5] for record in load(small).records] == ["7.jpg", "xxxxx"]
    write(small / "data.yaml", f"train: {'x' * 5000}\nnames: [cat, dog]\n")
    with pytest.raises(UsageError, match="does not exist"):
        load(small)


def test_unknown_numbers_and_labels_without_an_image_are_findings(small):
    write(small / "labels" / "7.txt", ROW + "5 0.5 0.5 0.5 0.5\n")
    write(small / "labels" / "lost.txt", ROW + ROW)

    annotations = load(small)

    assert annotations.findings == (
        ReaderFinding("unknown_image", "labels/lost.txt", "there is no image lost.*", boxes=2),
        ReaderFinding("unknown_class", "labels/7.txt:2", 5, boxes=1))
    with pytest.raises(DatasetError, match="1 unknown_image, 1 unknown_class"):
        audit(annotations, progress=False)


def test_numbers_that_count_from_one_are_recognised(small):
    write(small / "labels" / "7.txt", "1 0.5 0.5 0.5 0.5\n2 0.2 0.2 0.1 0.1\n")

    with pytest.raises(DatasetError, match="classes count from 0 to 1, but 2 occurs"):
        audit(load(small), progress=False)


@pytest.mark.parametrize("text, message", [
    ("train: images\n", "'names' has to list the class names, found None"),
    ("train: images\nnames: [cat, cat]\n", "'cat' occurs twice"),
    ("train: images\nnames: [true, dog]\n", "class 0 is called True; .* in quotes"),
    ("train: images\nnames: {0: cat, 0: dog}\n", "key '0' is given twice"),
    ("train: images\nnames: {a: cat}\n", "class 'a' is called 'cat'; a number from 0"),
    ("train: images\nnc: 3\nnames: [cat, dog]\n", "nc is 3, but 'names' has 2 names"),
    ("train: 7\nnames: [cat, dog]\n", "'train' has to name folders or lists"),
    ("train: elsewhere\nnames: [cat, dog]\n", "train is 'elsewhere', and .*elsewhere does not exist"),
    ("train: ../../..\nnames: &a [*a]\n", "anchors, aliases and tags are not accepted"),
])
def test_a_data_yaml_that_makes_no_sense_is_refused(small, text, message):
    write(small / "data.yaml", text)

    with pytest.raises(ProjectError, match=f"data.yaml.*{message}"):
        load(small)


def test_nothing_outside_the_folder_is_read(small, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "labels" / "9.txt", ROW)
    image(outside / "images" / "9.jpg")
    write(small / "data.yaml", f"path: {outside}\ntrain: pictures\nnames: [cat, dog]\n")
    (outside / "images").rename(outside / "pictures")
    with pytest.raises(UsageError, match="train is 'pictures'"):
        load(small)

    write(small / "data.yaml", "train: images\nnames: [cat, dog]\n")
    os.symlink(outside / "labels" / "9.txt", small / "labels" / "9.txt")
    image(small / "images" / "9.jpg")
    with pytest.raises(AnnotationError, match="9.txt leads to .*outside.*9.txt, which is not below"):
        load(small)


def test_a_linked_image_is_left_to_the_audit(small, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    image(outside / "9.jpg")
    os.symlink(outside / "9.jpg", small / "images" / "9.jpg")
    write(small / "labels" / "9.txt", ROW)

    with pytest.raises(DatasetError, match="outside_root"):
        audit(load(small), progress=False)
    policy = {"outside_root": "keep"}
    kept = audit(load(small, audit_policy=policy), policy, progress=False).annotations.records[1]
    assert kept.boxes.tolist() == [[10, 7.5, 30, 12.5]]


def test_a_linked_folder_of_images_is_named_or_followed(small, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (small / "images").rename(outside / "images")
    os.symlink(outside / "images", small / "images")

    with pytest.raises(DatasetError, match="outside_root.*7.jpg leads to .*outside.*7.jpg, which is not below"):
        audit(load(small), progress=False)
    policy = {"outside_root": "keep"}
    assert len(audit(load(small, audit_policy=policy), policy, progress=False).annotations.records) == 1


def test_images_of_other_kinds_are_named_by_the_audit(small):
    write(small / "labels" / "8.txt", ROW)
    (small / "images" / "8.webp").write_bytes(b"RIFF\0\0\0\0WEBP")

    with pytest.raises(DatasetError, match="unreadable_image.*8.webp: is neither JPEG nor PNG nor BMP"):
        audit(load(small), progress=False)


def test_without_labels_or_names_the_message_says_where_they_are_looked_for(small, tmp_path_factory):
    (small / "labels" / "7.txt").unlink()
    with pytest.raises(UsageError, match="1 image of the split 'train', and none has a label file.*labels/"):
        load(small)
    with pytest.raises(UsageError, match="no file names the classes; looked for data.yaml.*classes.txt.*yolo_root"):
        load(tmp_path_factory.mktemp("empty"))
    for name in ("a.yaml", "b.yaml"):
        write(small / name, "")
    (small / "data.yaml").unlink()
    with pytest.raises(UsageError, match="has a.yaml, b.yaml; name the one .* --yolo_root .*a.yaml"):
        load(small)


def test_an_image_that_is_added_changes_the_fingerprint(small):
    data = DataSection(dataset="yolo", yolo_root=str(small))
    before = request_of(data, "train", with_masks=False)
    image(small / "images" / "8.jpg")

    after = request_of(data, "train", with_masks=False)

    assert before.fingerprint != after.fingerprint
    assert set(before.described["annotations"]) == {"data.yaml", "labels/7.txt"}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzzed")
    write(root / "data.yaml", "train: images\nnames: [cat, dog]\n")
    write(root / "labels" / "7.txt", ROW)
    image(root / "images" / "7.jpg")
    return root


@given(st.lists(st.sampled_from(["0", "1", "0.5", "-0.5", " ", " ", "\n", "1e999", "nan", "\0", "x", "9" * 400]),
                max_size=20).map("".join))
@settings(max_examples=100, deadline=None)
def test_any_rows_give_records_or_the_projects_own_error(fuzzed, text):
    (fuzzed / "labels" / "7.txt").write_text(text)
    try:
        record, = load(fuzzed).records
        assert np.isfinite(record.boxes).all()
    except ProjectError as error:
        assert str(fuzzed) in str(error)


@given(st.lists(st.sampled_from(["train", "names", "path", ": ", "\n", "[", "]", "{", "}", "0", "cat", "images", "..",
                                 "/", "&a", "*a", "!!x", "\"", "\0", "- "]), max_size=14).map("".join))
@settings(max_examples=100, deadline=None)
def test_any_data_yaml_gives_records_or_the_projects_own_error(fuzzed, text):
    (fuzzed / "labels" / "7.txt").write_text(ROW)
    (fuzzed / "data.yaml").write_text(text)
    try:
        load(fuzzed)
    except ProjectError as error:
        assert str(fuzzed) in str(error)
    finally:
        (fuzzed / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
