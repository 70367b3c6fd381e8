"""A name that is too long for the file system is one that does not exist, wherever a user may write it."""
from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from src.data.annotations import load_split
from src.data.audit import examine
from src.errors import AnnotationError, UsageError
from src.settings.schema import DataSection

LONG = "x" * 300
XML = ("<annotation><filename>{0}.png</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
       "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")


@pytest.fixture
def folder(tmp_path):
    """The image a.png, and annotations in each format that name it and one with a long name."""
    for name in ("annotations", "labels", "images", "Annotations", "ImageSets/Main", "labelme"):
        (tmp_path / name).mkdir(parents=True)
    for place in ("images", "labelme"):
        cv2.imwrite(str(tmp_path / place / "a.png"), np.eye(20, dtype=np.uint8))
    images = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate(("a", LONG), 1)]
    (tmp_path / "annotations/instances_images.json").write_text(json.dumps(
        {"images": images, "categories": [{"id": 1, "name": "cat"}], "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 8, 8]} for number in (1, 2)]}))
    for stem, name in (("a", "a"), ("b", LONG)):
        (tmp_path / f"Annotations/{stem}.xml").write_text(XML.format(name))
        (tmp_path / f"labelme/{stem}.json").write_text(json.dumps({"imagePath": f"{name}.png", "shapes": [
            {"label": "cat", "shape_type": "rectangle", "points": [[1, 1], [9, 9]]}]}))
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb")
    (tmp_path / "ImageSets/Main/val.txt").write_text(LONG)
    (tmp_path / "rows.txt").write_text(f"a.png 1,1,9,9,1\n{LONG}.png 1,1,9,9,1")
    (tmp_path / "labels/a.txt").write_text("0 .5 .5 .2 .2")
    (tmp_path / "list.txt").write_text(f"images/a.png\nimages/{LONG}.png\n{LONG}/a.png")
    (tmp_path / "data.yaml").write_text(f"names: [cat]\ntrain: list.txt\nval: {LONG}")
    return tmp_path


def data(folder, **settings):
    paths = {"coco_root": "{0}", "train_data_type": "images", "voc_root": "{0}", "yolo_root": "{0}",
             "labelme_root": "{0}/labelme", "image_dir": "{0}/images", "anno_path": "{0}/rows.txt", "classes": ["cat"],
             **settings}
    return DataSection(**{key: value.format(folder) if isinstance(value, str) else value
                          for key, value in paths.items()})


@pytest.mark.parametrize("form", ["coco", "voc", "txt", "yolo", "labelme"])
def test_an_image_that_the_annotations_call_so_is_a_finding(folder, form):
    report = examine(load_split(data(folder, dataset=form), "train"), progress=False)

    assert {finding.kind for finding in report.errors} <= {"missing_image", "unreadable_image"}
    assert any(LONG in finding.value for finding in report.errors)


@pytest.mark.parametrize("settings", [
    {"coco_root": LONG}, {"train_data_type": LONG}, {"dataset": "voc", "voc_root": LONG},
    {"dataset": "txt", "image_dir": LONG}, {"dataset": "txt", "anno_path": LONG},
    {"dataset": "yolo", "yolo_root": LONG}, {"dataset": "labelme", "labelme_root": LONG}, {"val_list": LONG}])
def test_a_setting_that_says_so_is_wrong_use(folder, settings):
    with pytest.raises(UsageError, match=LONG):
        load_split(data(folder, **settings), "train")


@pytest.mark.parametrize("settings, error", [
    ({"dataset": "voc"}, AnnotationError), ({"dataset": "voc", "voc_json": LONG}, AnnotationError),
    ({"dataset": "yolo"}, UsageError), ({"dataset": "txt", "val_anno_path": LONG}, UsageError)])
def test_a_list_or_file_of_the_validation_split_that_does_is_an_error(folder, settings, error):
    with pytest.raises(error, match=LONG):
        load_split(data(folder, **settings), "val")
