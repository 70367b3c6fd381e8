"""Which data a run asks for: the same settings and files give the same fingerprint, anything else another one."""
from __future__ import annotations

import json
import os
import shutil

import pytest

from src.data.audit_policy import RULES, Rule
from src.data.identity import names_raw_data, request_of
from src.errors import AnnotationError, UsageError
from src.settings.schema import DataSection

XML = ("<annotation><filename>{0}.jpg</filename><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
       "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>")


def settings_of(form, root, **changed):
    paths = {"coco": {"coco_root": str(root)}, "voc": {"voc_root": str(root)},
             "txt": {"image_dir": str(root), "anno_path": str(root / "rows.txt"), "classes": ["cat", "dog"]}}
    return DataSection(**{"dataset": form, **paths[form], **changed})


@pytest.fixture(params=["coco", "voc", "txt"])
def form(request, tmp_path):
    """A data set without images in each format, in the folder "set"."""
    root = tmp_path / "set"
    for folder in ("annotations", "train2017", "Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps({"images": [], "categories": []}))
    (root / "ImageSets" / "Main" / "train.txt").write_text("1")
    (root / "Annotations" / "1.xml").write_text(XML.format(1))
    (root / "rows.txt").write_text("1.jpg 0,0,8,8,1")
    return request.param


ANNOTATIONS = {"coco": "annotations/instances_train2017.json", "voc": "Annotations/1.xml", "txt": "rows.txt"}


def fingerprint(form, root, split="train", with_masks=False, **changed):
    return request_of(settings_of(form, root, **changed), split, with_masks).fingerprint


def test_a_copy_of_the_data_elsewhere_is_the_same_data(form, tmp_path):
    shutil.copytree(tmp_path / "set", tmp_path / "elsewhere" / "copy")

    assert fingerprint(form, tmp_path / "set") == fingerprint(form, tmp_path / "elsewhere" / "copy")


def test_what_decides_the_content_changes_the_fingerprint(form, tmp_path):
    root = tmp_path / "set"
    found = [fingerprint(form, root), fingerprint(form, root, with_masks=True),
             fingerprint(form, root, classes=["dog", "cat"]), fingerprint(form, root, keep_empty_images=True),
             fingerprint(form, root, max_image_pixels=1000),
             fingerprint(form, root, audit_policy={"outside_box": "drop"})]
    with open(root / ANNOTATIONS[form], "a") as file:
        file.write(" ")
    found.append(fingerprint(form, root))

    assert len(set(found)) == len(found)


def test_what_only_says_how_files_are_read_does_not(form, tmp_path):
    root = tmp_path / "set"

    assert fingerprint(form, root) == fingerprint(form, root, num_parallel_workers=3, mindrecord_shards=2,
                                                  audit_policy={"missing_image": "error"})  # the default of the audit


def test_a_further_kind_of_finding_leaves_the_fingerprint_of_old_runs(form, tmp_path, monkeypatch):
    before = fingerprint(form, tmp_path / "set", audit_policy={"outside_box": "drop"})
    monkeypatch.setitem(RULES, "a_new_kind", Rule("keep", keep="go on"))

    assert fingerprint(form, tmp_path / "set", audit_policy={"outside_box": "drop"}) == before


def test_the_request_says_where_the_data_comes_from(form, tmp_path):
    request = request_of(settings_of(form, tmp_path / "set"), "train", with_masks=False)

    assert request.described["format"] == form and request.described["split"] == "train"
    assert str(tmp_path / "set") in request.described["paths"].values()
    assert any(name.endswith(ANNOTATIONS[form].rpartition("/")[2]) for name in request.described["annotations"])
    assert request.name == {"coco": "set", "voc": "set", "txt": "rows"}[form]


def test_a_missing_folder_or_file_is_wrong_use(form, tmp_path):
    os.rename(tmp_path / "set", tmp_path / "moved")

    with pytest.raises(UsageError, match="set (coco_root|voc_root|anno_path)"):
        request_of(settings_of(form, tmp_path / "set"), "train", with_masks=False)


def test_a_pipe_in_place_of_annotations_is_refused_at_once(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "train").mkdir()
    os.mkfifo(tmp_path / "train" / "1.xml")

    with pytest.raises(AnnotationError, match="1.xml: cannot be read: not a regular file"):
        request_of(settings_of("voc", tmp_path), "train", with_masks=False)


def test_raw_data_is_named_by_a_path_of_its_format_or_lies_at_the_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not names_raw_data(DataSection())                         # data/coco is the default and does not exist
    assert not names_raw_data(DataSection(dataset="txt"))
    assert not names_raw_data(DataSection(voc_root="/mistyped"))     # not a path of COCO
    assert names_raw_data(DataSection(coco_root="/mistyped"))
    assert names_raw_data(DataSection(dataset="voc", voc_root="/mistyped"))
    assert names_raw_data(DataSection(dataset="txt", image_dir="/mistyped"))
    (tmp_path / "data" / "coco").mkdir(parents=True)
    assert names_raw_data(DataSection())
