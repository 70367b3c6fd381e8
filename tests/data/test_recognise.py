"""`--data DIR`: what each labelling program exports is recognised and read."""
from __future__ import annotations

import json

import numpy as np
import pytest

import audit
import eval as eval_program
import postprocess
import preprocess
import train
from src.command_line import load_config
from src.data.annotations import load_split
from src.data.images import encode_jpeg
from src.data.recognise import recognise, with_data
from src.engine.training_data import load_validation_set
from src.errors import AnnotationError, UsageError
from src.settings.config import Config
from src.settings.schema import DataSection

JPEG = encode_jpeg(np.zeros((20, 40, 3), np.uint8))
VOC = ("<annotation><filename>1.jpg</filename><size><width>40</width><height>20</height></size><object><name>cat</name>"
       "<bndbox><xmin>11</xmin><ymin>6</ymin><xmax>31</xmax><ymax>16</ymax></bndbox></object></annotation>")
YOLO = "0 0.5 0.5 0.5 0.5\n"
LABELME = json.dumps({"version": "5.5.0", "flags": {}, "shapes": [
    {"label": "cat", "points": [[10, 5], [30, 15]], "shape_type": "rectangle"}], "imagePath": "1.jpg"})


def coco(file_name="1.jpg"):
    return json.dumps({"info": {}, "images": [{"id": 1, "file_name": file_name, "width": 40, "height": 20}],
                       "annotations": [{"id": 1, "image_id": 1, "category_id": 0, "bbox": [10, 5, 20, 10]}],
                       "categories": [{"id": 0, "name": "cat"}]})


EXPORTS = {  # program and format: files; whether there is a validation split
    "COCO": ({"annotations/instances_train2017.json": coco(), "annotations/instances_val2017.json": coco(),
              "annotations/captions_train2017.json": coco(), "annotations/person_keypoints_train2017.json": coco(),
              "train2017/1.jpg": JPEG, "val2017/1.jpg": JPEG}, True),
    "COCO with images/": ({"annotations/instances_train2017.json": coco(), "annotations/instances_val2017.json": coco(),
                           "images/train2017/1.jpg": JPEG, "images/val2017/1.jpg": JPEG}, True),
    "any names": ({"train.json": coco(), "val.json": coco(), "test_2.json": coco(), "images/1.jpg": JPEG}, True),
    "Roboflow COCO": ({"train/_annotations.coco.json": coco(), "valid/_annotations.coco.json": coco(),
                       "test/_annotations.coco.json": coco(), "README.roboflow.txt": "", "train/1.jpg": JPEG,
                       "valid/1.jpg": JPEG, "test/1.jpg": JPEG}, True),
    "Roboflow VOC": ({"train/1.xml": VOC, "train/1.jpg": JPEG, "valid/1.xml": VOC, "valid/1.jpg": JPEG}, True),
    "Roboflow YOLO": ({"data.yaml": "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['cat']\n",
                       "train/images/1.jpg": JPEG, "train/labels/1.txt": YOLO, "valid/images/1.jpg": JPEG,
                       "valid/labels/1.txt": YOLO, "README.dataset.txt": "0 images\n"}, True),
    "CVAT COCO": ({"annotations/instances_default.json": coco(), "images/default/1.jpg": JPEG}, False),
    "CVAT COCO, subsets": ({"annotations/instances_Train.json": coco(), "annotations/instances_Validation.json": coco(),
                            "images/Train/1.jpg": JPEG, "images/Validation/1.jpg": JPEG}, True),
    "CVAT COCO, older": ({"annotations/instances_default.json": coco(), "images/1.jpg": JPEG}, False),
    "CVAT VOC": ({"Annotations/1.xml": VOC, "JPEGImages/1.jpg": JPEG, "ImageSets/Main/default.txt": "1\n",
                  "labelmap.txt": "# label:color_rgb:parts:actions\ncat:::\n"}, False),
    "CVAT YOLO": ({"data.yaml": "path: .\ntrain: train.txt\nnames:\n  0: cat\n",
                   "train.txt": "data/images/train/1.jpg\n",
                   "images/train/1.jpg": JPEG, "labels/train/1.txt": YOLO}, False),
    "Label Studio COCO": ({"result.json": coco("images/1.jpg"), "images/1.jpg": JPEG}, False),
    "Label Studio VOC": ({"Annotations/1.xml": VOC, "images/1.jpg": JPEG}, False),
    "Label Studio YOLO": ({"classes.txt": "cat\n",
                           "notes.json": '{"categories": [{"id": 0, "name": "cat"}], "info": {}}',
                           "images/1.jpg": JPEG, "labels/1.txt": YOLO}, False),
    "VIA COCO": ({"via_project_coco.json": coco(), "1.jpg": JPEG}, False),
    "LabelImg VOC": ({"1.xml": VOC, "1.jpg": JPEG, "classes.txt": "cat\n"}, False),
    "LabelImg YOLO": ({"1.txt": YOLO, "1.jpg": JPEG, "classes.txt": "cat\n"}, False),
    "LabelMe": ({"1.json": LABELME, "1.jpg": JPEG, "labels.txt": "cat\n"}, False),
    "LabelMe, split": ({"train/1.json": LABELME, "train/1.jpg": JPEG, "val/1.json": LABELME, "val/1.jpg": JPEG}, True),
    "rows": ({"train.txt": "1.jpg 10,5,30,15,1\n", "val.txt": "1.jpg 10,5,30,15,1\n", "1.jpg": JPEG}, True),
    "a folder in the folder": ({"LICENSE": "", "cells/annotations/1.xml": VOC, "cells/images/1.jpg": JPEG}, False),
}


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


@pytest.mark.parametrize("export", EXPORTS)
def test_an_export_is_recognised_and_read(tmp_path, export):
    files, has_validation = EXPORTS[export]
    write(tmp_path, files)

    data = DataSection(**recognise(tmp_path), classes=["cat"])

    for split in ("train", "val")[:1 + has_validation]:
        record, = load_split(data, split).records
        assert record.boxes.tolist() == [[10, 5, 30, 15]] and record.image_path.is_file()
    if not has_validation:
        with pytest.raises(UsageError, match="val"):
            load_split(data, "val")


def test_the_settings_that_were_taken_are_printed_and_written(tmp_path, capsys):
    write(tmp_path, EXPORTS["Roboflow COCO"][0])
    config = Config(model={"model_name": "any"}, data=DataSection(data_root=str(tmp_path)))

    found = with_data(config)

    assert found.data.data_root is None and found.data.dataset == "coco"
    assert capsys.readouterr().out == (
        f"{tmp_path}: read with --dataset coco --coco_root {tmp_path} --instances_set '{{}}/_annotations.coco.json' "
        "--coco_images '{}' --train_data_type train --val_data_type valid "
        "--test_instances_set '{}/_annotations.coco.json' "
        "--test_data_type test\n")
    assert len(load_split(found.data, "test").records) == 1
    assert with_data(found) is found


@pytest.mark.parametrize("files, message", [
    ({"via.json": '{"_via_settings": {}, "_via_img_metadata": {}}'}, "VGG Image Annotator.*Export Annotations \\(COCO"),
    ({"via.json": '{"1.jpg7": {"filename": "1.jpg", "regions": []}}'}, "VGG Image Annotator"),
    ({"project.json": '[{\n"id": 1,\n"annotations": [], "data": {}}]'}, "Label Studio's own form.*Export > COCO"),
    ({"annotations.xml": '<?xml version="1.0"?><annotations><version>1.1</version></annotations>'}, "CVAT's own form"),
    ({"train/_annotations.csv": "filename,width\n"}, "_annotations.csv: is a table.*export as COCO"),
    ({"train/_annotations.createml.json": "[]"}, "CreateML"),
    ({"a.jpg": b""}, r"holds no annotations that are known here \(coco, voc, txt, yolo, labelme\)"),
    ({"1.xml": VOC, "result.json": coco(), "1.jpg": JPEG},
     "several formats.*\n  --dataset coco --coco_root .*result.json.*\n  --dataset voc --voc_root"),
    ({"a/1.xml": VOC, "b/1.xml": VOC}, "several data sets, .*a, .*b; give one"),
    ({"a.json": coco(), "b.json": coco(), "1.jpg": JPEG}, "which file is the training split: a.json, b.json?"),
    ({"train.json": coco(), "val_1.json": coco(), "val_2.json": coco(), "1.jpg": JPEG}, "which file is the validation"),
    ({"train.json": coco(), "my_val.json": coco(), "1.jpg": JPEG}, "differ in more than the name of the split"),
    ({"result.json": coco("elsewhere/1.jpg")}, r"its first images \(elsewhere/1.jpg\) are in none of .*--coco_images"),
])
def test_what_is_not_one_data_set_is_named_with_the_way_out(tmp_path, files, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        recognise(write(tmp_path, files))


@pytest.mark.parametrize("program", [train, eval_program, audit, preprocess, postprocess])
def test_every_program_that_reads_annotations_takes_it(program, tmp_path):
    with pytest.raises(UsageError, match="typo': no such folder; set data"):
        program.main(["--model_name", "ssd300", "--data", str(tmp_path / "typo")])


def test_the_audit_of_all_splits_takes_those_that_are_there(tmp_path, capsys):
    write(tmp_path / "set", EXPORTS["Roboflow VOC"][0])

    done = audit.main(["--model_name", "ssd300", "--data", str(tmp_path / "set"), "--split", "all", "--report_dir",
                       str(tmp_path / "report")])

    assert done == 0 and "no split 'test' to audit: " in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["train", "val"]


def test_training_evaluates_on_a_drawn_split_and_does_without_one(tmp_path, capsys):
    root = write(tmp_path / "set", EXPORTS["Label Studio COCO"][0])
    config = load_config(["--model_name", "ssd300", "--data", str(root)], "train")

    assert load_validation_set(with_data(config), ("cat",)) is None
    printed = capsys.readouterr().out
    assert "no evaluation while training: " in printed and "tools/split_dataset.py" in printed

    (root / "val_images.txt").write_text("images/1.jpg\n")
    assert len(load_validation_set(with_data(config), ("cat",)).records) == 1
    (root / "val_images.txt").write_text("images/2.jpg\n")
    with pytest.raises(AnnotationError, match="'images/2.jpg' is not an image"):
        load_validation_set(with_data(config), ("cat",))
