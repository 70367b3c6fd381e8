"""Data sets as labelling programs and their users leave them, which were read without a word, and wrongly."""
from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from src.data.annotations import load_split
from src.data.audit import examine
from src.data.recognise import recognise
from src.data.records import upright
from src.errors import AnnotationError, UsageError
from src.settings.schema import DataSection

SIZE = (120, 160)   # height, width
BOXES = [(100, 60, 140, 100), (90, 50, 130, 110), (110, 70, 150, 90)]
NAMES = ("cat", "dog", "cow")
OBJECT = ("<object><name>{0}</name><bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox>"
          "{5}</object>")


def draw(folder, names, scale=1.0):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        image = np.full((round(SIZE[0] * scale), round(SIZE[1] * scale), 3), 9 * number + 10, np.uint8)
        image[0, 0] = len(name)
        cv2.imwrite(str(folder / name), image)


def coco(folder, change=lambda _: None, prefix=""):
    """Six images, one object each."""
    names = [f"{number}.png" for number in range(1, 7)]
    draw(folder / "images", names)
    content = {"images": [{"id": number, "file_name": prefix + name, "height": SIZE[0], "width": SIZE[1]}
                          for number, name in enumerate(names, 1)],
               "annotations": [{"id": number, "image_id": number, "category_id": number % 3 + 1, "iscrowd": 0,
                                "bbox": [x1, y1, x2 - x1, y2 - y1]}
                               for number, (x1, y1, x2, y2) in enumerate(BOXES * 2, 1)],
               "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)]}
    change(content)
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def voc(folder, extra="", names=NAMES):
    draw(folder / "JPEGImages", ["1.png", "2.png", "3.png"])
    (folder / "Annotations").mkdir()
    for number, (name, box) in enumerate(zip(names, BOXES), 1):
        entry = OBJECT.format(name, *(side + 1 for side in box), extra)
        (folder / "Annotations" / f"{number}.xml").write_text(f"<annotation>{entry}</annotation>")
    return folder


def yolo(folder, tail="", yaml="", first=0, form=lambda x1, y1, x2, y2: ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1,
                                                                          y2 - y1)):
    names = [f"{number}.png" for number in range(12)]
    draw(folder / "images", names)
    (folder / "labels").mkdir()
    for number, name in enumerate(names):
        x1, y1, x2, y2 = BOXES[number % 3]
        numbers = form(x1 / SIZE[1], y1 / SIZE[0], x2 / SIZE[1], y2 / SIZE[0])
        (folder / "labels" / f"{name[:-4]}.txt").write_text(
            f"{first + number % 2} {' '.join(map(str, numbers))}{tail}\n")
    (folder / "data.yaml").write_text(f"train: images\nnames: {{2: cow, 0: cat, 1: dog}}\n{yaml}")
    return folder


def read(folder):
    return load_split(DataSection(**recognise(folder)), "train")


def found(folder):
    """The report of the audit, and its findings by kind."""
    report = examine(read(folder), progress=False)
    return report, {finding.kind: finding for finding in report.findings}


def boxes(report):
    return [record.boxes[0].round(3).tolist() for record in report.annotations.records]


@pytest.mark.parametrize("scale", [0.5, 2, 3.1])
def test_boxes_of_a_few_images_that_were_scaled_are_scaled_with_them(tmp_path, scale):
    folder = coco(tmp_path)
    draw(folder / "images", ["1.png", "2.png"], scale)

    report, kinds = found(folder)

    assert list(kinds) == ["resized_image"] and len(report.findings) == 2
    np.testing.assert_allclose(boxes(report)[:2], np.array(BOXES[:2]) * scale, rtol=0.01)
    assert boxes(report)[2] == list(BOXES[2])


def test_upright_box_around_a_turned_one():
    np.testing.assert_allclose(upright((10, 20, 50, 40), 90), (20, 10, 40, 50))
    np.testing.assert_allclose(upright((10, 20, 50, 40), -180), (10, 20, 50, 40))
    side = 40 / math.sqrt(2)
    np.testing.assert_allclose(upright((0, 0, 40, 40), 45), (20 - side, 20 - side, 20 + side, 20 + side))


def test_cvats_turned_boxes_become_the_upright_boxes_around_them(tmp_path):
    def turn(content):
        for entry in content["annotations"]:
            entry["attributes"] = {"occluded": False, "rotation": 90.0 if entry["id"] == 2 else 0.0}
    turned = "<attributes><attribute><name>rotation</name><value>90.0</value></attribute></attributes>"

    report, kinds = found(coco(tmp_path / "coco", turn))
    assert list(kinds) == ["rotated_box"] and kinds["rotated_box"].value == "turned by 90 degrees"
    assert boxes(report)[:2] == [list(BOXES[0]), [80, 60, 140, 100]]

    report, kinds = found(voc(tmp_path / "voc", turned))
    assert len(report.findings) - 3 == 3 and "rotated_box" in kinds     # three images have no declared size
    assert boxes(report)[1] == [80, 60, 140, 100]


def test_classes_that_differ_in_capitals_and_blanks_are_named(tmp_path):
    _, kinds = found(voc(tmp_path, names=("Stop sign", "stop_sign", "dog")))

    assert kinds["similar_classes"].value.startswith("'Stop sign' and 'stop_sign' are learned as 2 classes")


def test_xml_files_in_deeper_folders_are_not_passed_over(tmp_path):
    folder = voc(tmp_path)
    (folder / "Annotations" / "second").mkdir()
    (folder / "Annotations" / "second" / "4.xml").write_text("<annotation/>")

    with pytest.raises(UsageError, match=r"second/4.xml lies in a folder below .*Annotations and would not be read"):
        read(folder)


@pytest.mark.parametrize("before, after", [
    ("<object>", "<objects><object>"), ("object>", "Object>"), ("<annotation>", '<annotation xmlns="http://a.b/c">')])
def test_objects_in_other_elements_are_not_passed_over(tmp_path, before, after):
    path = voc(tmp_path) / "Annotations" / "1.xml"
    text = path.read_text().replace(before, after)
    path.write_text(text.replace("</object>", "</object></objects>") if "objects" in after else text)

    with pytest.raises(AnnotationError, match=r"1.xml: 1 of 1 <bndbox> are not in an <object> right below the root"):
        read(tmp_path)


def test_images_without_an_annotation_file_are_counted(tmp_path):
    (voc(tmp_path / "voc") / "Annotations" / "2.xml").unlink()
    draw(tmp_path / "labelme", ["1.png", "2.png"])
    (tmp_path / "labelme" / "1.json").write_text(json.dumps({"imagePath": "..\\labelme\\1.png", "shapes": [
        {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [50, 50]]}]}))

    for folder, before in ((tmp_path / "voc", 3), (tmp_path / "labelme", 2)):
        report, kinds = found(folder)
        assert kinds["unannotated_image"].where == "2.png"
        assert (report.before.images, report.after.images) == (before, before - 1)


@pytest.mark.parametrize("shape, tail", [("[4, 2]", " 0.1 0.2" * 4), ("[3, 3]", " 0.1 0.2 2" * 3)])
def test_rows_with_key_points_are_read_as_boxes(tmp_path, shape, tail):
    report, kinds = found(yolo(tmp_path, tail, yaml=f"kpt_shape: {shape}"))

    assert not kinds and boxes(report)[0] == list(BOXES[0])
    assert report.annotations.classes == NAMES     # by number, not by place


def test_labels_that_count_from_one_are_suspected_where_class_0_is_missing(tmp_path):
    _, kinds = found(yolo(tmp_path, first=1))

    assert kinds["empty_class"].value.startswith("'cat', class 0, has no object")


def test_corners_in_place_of_centres_are_refused_though_little_of_each_box_is_lost(tmp_path):
    report, kinds = found(yolo(tmp_path, form=lambda x1, y1, x2, y2: (x1, y1, x2, y2)))

    assert list(kinds) == ["many_bad_boxes", "outside_box"] and report.errors
    assert "seem to be x1, y1, x2, y2, where the centre, width and height is expected" in \
        kinds["many_bad_boxes"].value


def test_paths_of_windows_in_coco_files(tmp_path):
    report, kinds = found(coco(tmp_path, prefix="images\\"))

    assert not kinds and boxes(report)[0] == list(BOXES[0])


def test_a_row_for_each_object_is_not_a_duplicate_to_be_dropped(tmp_path):
    draw(tmp_path, ["1.png"])
    rows = ["1.png 10,10,60,60,1", "1.png 70,10,90,60,2", "1.png 10,10,60,60,1"]
    (tmp_path / "rows.txt").write_text("\n".join(rows))
    data = DataSection(dataset="txt", image_dir=str(tmp_path), anno_path=str(tmp_path / "rows.txt"),
                       classes=["cat", "dog"])

    refused = examine(load_split(data, "train"), progress=False)
    merged = examine(load_split(data, "train"), {"duplicate_file": "repair"}, progress=False)

    assert "--audit_policy duplicate_file=repair (duplicate_file: put the objects of both entries together)" in \
        refused.error_message()
    record, = merged.annotations.records
    assert record.labels.tolist() == [0, 1], "the object that both rows have is there once"
    assert merged.before.boxes == 3 and merged.after.boxes == 2
