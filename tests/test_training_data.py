"""A run trains on the data that it was asked for, or says why not: what train.py finds before anything is compiled."""
from __future__ import annotations

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.shapes import draw_shapes
from src.engine.build import check_same_data
from src.engine.training_data import audited_validation_set, find_data, shared_validation, training_files
from src.errors import ConfigError, DatasetError, UsageError
from src.model_utils.device_adapter import ALONE
from train import train_detector, with_computed_settings, with_settings_of_data

CLASSES = ("circle", "rectangle", "triangle")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A drawn set and the MindRecord files that were made of it."""
    folder = tmp_path_factory.mktemp("written")
    draw_shapes(folder / "shapes", train=4, val=2)
    (folder / "rows.txt").write_text("000000000001.jpg 1,1,20,20,1\n")
    prepare(folder, coco_root=folder / "shapes")
    return folder


def config(folder, **flags):
    flags = {"model_name": "ssd300", "mindrecord_dir": folder / "records", "mindrecord_shards": 1, **flags}
    return load_config([f"--{key}={value}" for key, value in flags.items()], "train")


def prepare(folder, **flags):
    settings = config(folder, **flags)
    return training_files(settings, find_data(settings), folder, ALONE)


def test_current_files_are_used_without_reading_annotations(written, monkeypatch):
    monkeypatch.setattr("src.engine.training_data.load_split", lambda *_: pytest.fail("the files are current"))

    assert prepare(written, coco_root=written / "shapes").classes == CLASSES


@pytest.mark.parametrize("flags, error, message", [
    ({"coco_root": "{folder}/shappes"}, UsageError, "shappes': no such folder; set coco_root"),
    ({"coco_root": "{folder}/shapes", "train_data_type": "train"}, UsageError, "instances_train.json': no such file"),
    ({"coco_root": "{folder}/shapes", "num_classes": 7}, ConfigError, "num_classes is 7, which does not fit 3 classes"),
    ({"coco_root": "{folder}/shapes", "classes": "circle,rectangel"}, ConfigError,
     r"has no class named rectangel \(the nearest is rectangle\); classes asks for circle, rectangel"),
    ({"coco_root": "{folder}/shapes", "instances_set": "annotations/v2_{}.json"}, UsageError, "no such file"),
    ({"dataset": "voc", "voc_root": "{folder}/shapes"}, UsageError, "has no split 'train'"),
    ({"dataset": "voc", "voc_root": "{folder}/voc"}, UsageError, "voc': no such folder; set voc_root"),
    ({"dataset": "txt", "anno_path": "{folder}/rows.txt"}, UsageError, "no such folder; set image_dir"),
    ({"dataset": "txt", "anno_path": "{folder}/rows.txt", "image_dir": "{folder}/shapes/train2017"}, ConfigError,
     "list the class names in classes")])
def test_what_is_wrong_with_named_data_is_an_error_with_and_without_mindrecord_files(written, flags, error, message):
    flags = {key: value.format(folder=written) if isinstance(value, str) and "{folder}" in value else value
             for key, value in flags.items()}

    for records in (written / "records", written / "nothing there"):
        with pytest.raises(error, match=message):
            prepare(written, **flags, mindrecord_dir=records)


def test_mindrecord_files_alone_stand_for_raw_data_that_nothing_names(written, capsys):
    files = prepare(written, coco_root="none", num_classes=4, classes="circle,rectangle,triangle")

    assert (files.image_count, files.classes) == (4, CLASSES)
    assert "training from" in capsys.readouterr().out


def test_a_run_keeps_the_settings_that_it_computed_and_takes_them_up_again(written, tmp_path, capsys):
    """--auto: the run folder holds them; a resumed run has them without looking at the data."""
    flags = {"coco_root": written / "shapes", "auto": True, "min_scale": 0.15}
    files = prepare(written, **flags)
    settings = config(written, **flags)

    computed = with_settings_of_data(settings, files, tmp_path, ALONE)

    assert computed.train.epoch_size == 300 and "epoch_size 500 -> 300" in capsys.readouterr().out
    assert computed.model.min_scale == 0.15     # the flag's
    assert load_config(["--config_path", str(tmp_path / "config.yaml")], "read") == computed
    (tmp_path / "ckpt_0").mkdir()
    (tmp_path / "ckpt_0" / "latest.json").write_text("{}")
    before = load_config(["--config_path", str(tmp_path / "config.yaml")], "read")
    resumed = with_computed_settings(config(written, **flags, resume=True), before)
    assert not computed.differences(resumed) and resumed.train.epoch_size == 300
    assert with_settings_of_data(resumed, None, tmp_path, ALONE) is resumed
    other = with_computed_settings(config(written, **flags, resume=True, epoch_size=7), before)
    assert computed.differences(other)[0].startswith("epoch_size: 300 before, 7 now")
    assert with_settings_of_data(config(written, coco_root="x"), None, tmp_path, ALONE).train.epoch_size == 500


def test_train_py_trains_with_what_it_computed_and_a_resumed_run_goes_on_with_it(written, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("train.train", lambda config, *_: seen.append(config))
    flags = {"coco_root": written / "shapes", "auto": True, "output_path": tmp_path, "run_eval": False}

    train_detector(config(written, **flags))

    first = seen.pop()
    assert first.train.epoch_size == 300
    assert load_config(["--config_path", str(tmp_path / "config.yaml")], "read") == first
    (tmp_path / "ckpt_0").mkdir()
    (tmp_path / "ckpt_0" / "latest.json").write_text("{}")
    train_detector(config(written, **flags, resume=True))
    assert seen.pop().train.epoch_size == 300
    with pytest.raises(UsageError, match="epoch_size: 300 before, 7 now"):
        train_detector(config(written, **flags, resume=True, epoch_size=7))
    with pytest.raises(UsageError, match="epoch_size: 300 before, 500 now"):
        train_detector(config(written, **{**flags, "auto": False}, resume=True))


@pytest.mark.parametrize("flags, message", [
    ({"num_classes": 7}, "num_classes is 7, which does not fit 3 classes"),
    ({"classes": "square,dog"}, "classes are square, dog, but .*ssd.mindrecord.json holds circle, rectangle, triangle"),
    ({"classes": "rectangle,circle,triangle"}, "name these in this order")])
def test_mindrecord_files_alone_have_to_hold_the_classes_that_are_asked_for(written, flags, message):
    with pytest.raises(ConfigError, match=message):
        prepare(written, coco_root="none", **flags)


def test_every_data_set_has_a_folder_of_its_own_by_default(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    places = [find_data(config(written, coco_root=written / "shapes", mindrecord_dir="none", **more)).place.folder
              for more in ({}, {}, {"classes": "circle"}, {"audit_policy": "outside_box=drop"})]

    assert places[0] == places[1] and len(set(places)) == 3
    assert all(folder.parent.name == "MindRecord" and folder.name.startswith("shapes-") for folder in places)


def test_files_of_the_old_zoo_alone_are_to_be_written_anew(tmp_path):
    (tmp_path / "ssd.mindrecord0").write_bytes(b"zoo")

    with pytest.raises(DatasetError, match="old model zoo cannot be read here: write them again from images"):
        prepare(tmp_path, coco_root="none", mindrecord_dir=tmp_path)


def test_the_description_says_where_the_files_come_from(written):
    about = json.loads((written / "records" / "ssd.mindrecord.json").read_text())

    described = about["described"]
    assert described["paths"] == {"coco_root": str(written / "shapes")}
    assert (described["format"], described["split"], described["classes"]) == ("coco", "train", None)
    assert described["audit_policy"]["outside_box"] == "repair"
    assert list(described["annotations"]) == ["instances_train2017.json"]
    file, size, mtime_ns, digest = about["images"][0]
    status = (written / "shapes" / "train2017" / file).stat()
    assert (size, mtime_ns, len(digest)) == (status.st_size, status.st_mtime_ns, 64)


def test_a_resumed_run_has_to_find_its_data_again(tmp_path):
    data = {"fingerprint": "a", "images": 23, "steps per epoch": 5, "classes": list(CLASSES)}

    check_same_data(data, dict(data), tmp_path)
    check_same_data(None, data, tmp_path)   # a state of an earlier version
    check_same_data(data, {**data, "devices": 8}, tmp_path)
    with pytest.raises(UsageError, match="was trained on 4 devices, not 8"):
        check_same_data({**data, "devices": 4}, {**data, "devices": 8, "steps per epoch": 2}, tmp_path)
    with pytest.raises(UsageError, match="images: 23 before, 8 now; steps per epoch: 5 before, 2 now"):
        check_same_data(data, {**data, "images": 8, "steps per epoch": 2}, tmp_path)
    with pytest.raises(UsageError, match=r"classes: \['circle', 'rectangle', 'triangle'\] before, \['zebra'\] now"):
        check_same_data(data, {**data, "classes": ["zebra"]}, tmp_path)


def emptied(folder, split, crowd):
    """The drawn set with a split that has no object, or crowds only."""
    shutil.copytree(folder / "shapes", folder / split)
    path = folder / split / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    content["annotations"] = [{**entry, "iscrowd": 1} for entry in content["annotations"]] if crowd else []
    path.write_text(json.dumps(content))
    return folder / split


@pytest.mark.parametrize("crowd, message", [(False, "no object is left to learn"), (True, "marked iscrowd=1")])
def test_a_set_without_objects_is_not_trained_on_even_when_empty_images_are_kept(tmp_path, crowd, message):
    draw_shapes(tmp_path / "shapes", train=2, val=1)

    with pytest.raises(DatasetError, match=message):
        prepare(tmp_path, coco_root=emptied(tmp_path, "train", crowd), keep_empty_images=True)


def test_a_validation_split_without_objects_is_said_and_not_measured(tmp_path, capsys):
    draw_shapes(tmp_path / "shapes", train=2, val=1)
    root = emptied(tmp_path, "val", crowd=False)
    settings = {value: config(tmp_path, coco_root=root, run_eval=value) for value in ("none", "true")}
    validation = load_split(settings["none"].data, "val")

    files = prepare(tmp_path, coco_root=tmp_path / "shapes")

    assert audited_validation_set(settings["none"], validation, files) is None
    assert "no evaluation while training" in capsys.readouterr().out
    with pytest.raises(DatasetError, match="has no object, so no AP can be measured"):
        audited_validation_set(settings["true"], validation, files)


def test_findings_and_unknown_classes_of_the_validation_split_are_said(tmp_path, capsys):
    draw_shapes(tmp_path / "shapes", train=2, val=2)
    path = tmp_path / "shapes/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 9, "name": "zebra"})
    content["annotations"] += [{**content["annotations"][0], "id": 901, "category_id": 9},
                               {**content["annotations"][0], "id": 902, "bbox": [1, 1, 0, 5]}]
    path.write_text(json.dumps(content))
    settings = config(tmp_path, coco_root=tmp_path / "shapes")
    files = prepare(tmp_path, coco_root=tmp_path / "shapes")

    audited_validation_set(settings, load_split(settings.data, "val", CLASSES), files)

    said = capsys.readouterr().out
    assert re.search("findings in the validation split: .*1 degenerate_box.*; audit.py --split val lists them", said)
    assert "not measured in the validation split: 1 object of other classes than the model's: zebra 1" in said


def test_validation_images_that_are_training_images_are_said(tmp_path, capsys):
    draw_shapes(tmp_path / "shapes", train=2, val=2)
    shutil.copy(tmp_path / "shapes/train2017/000000000002.jpg", tmp_path / "shapes/val2017/000000000003.jpg")
    settings = config(tmp_path, coco_root=tmp_path / "shapes", audit_policy="wrong_size=repair,many_bad_boxes=keep")
    files = prepare(tmp_path, coco_root=tmp_path / "shapes")
    validation = load_split(settings.data, "val")

    kept = audited_validation_set(settings, validation, files)

    assert len(kept.records) == 2
    said = capsys.readouterr().out
    assert "validation images that are training images, too: 1 of 2, so" in said
    assert "000000000003.jpg has the content of the training image 000000000002.jpg" in said


def test_the_report_of_the_audit_stays_that_of_the_run_when_it_is_resumed(tmp_path):
    draw_shapes(tmp_path / "shapes", train=2, val=1)
    settings = config(tmp_path, coco_root=tmp_path / "shapes")

    training_files(settings, find_data(settings), tmp_path, ALONE, resumes=True)

    assert not (tmp_path / "audit.json").exists()


def test_ranks_after_the_first_read_no_annotations_and_are_told_the_place(written, monkeypatch):
    for name in ("MS_ROLE", "MS_WORKER_NUM", "RANK_ID", "RANK_SIZE"):
        monkeypatch.delenv(name, raising=False)
    told = []
    first = SimpleNamespace(rank=0, size=2, device_id=0, share=lambda text: told.append(text) or text)
    settings = config(written, coco_root=written / "shapes")
    training_files(settings, find_data(settings), written, first)
    settings = config(written, coco_root=written / "shapes", run_distribute=True, device_num=2, rank_id=1)
    monkeypatch.setattr("src.engine.training_data.request_of", lambda *_: pytest.fail("rank 0 does this"))
    monkeypatch.setattr("src.engine.training_data.load_split", lambda *_: pytest.fail("rank 0 does this"))

    second = SimpleNamespace(rank=1, size=2, device_id=1, share=lambda _: told[0])
    files = training_files(settings, find_data(settings), written, second)

    assert files.classes == CLASSES


def test_ranks_after_the_first_get_the_validation_images_without_reading_annotations(written, tmp_path):
    """They predict the images of rank 0, each as the audit left it."""
    settings = config(written, coco_root=written / "shapes")
    files = prepare(written, coco_root=written / "shapes")
    told = []
    first = SimpleNamespace(rank=0, size=2, share=lambda text: told.append(text) or text)
    second = SimpleNamespace(rank=1, size=2, share=lambda _: told[-1])

    audited = shared_validation(settings, load_split(settings.data, "val", CLASSES), files, tmp_path, first)
    images = shared_validation(settings, None, files, tmp_path, second)

    for name in ("image_path", "image_id", "orientation", "accepted_pixels"):
        assert [getattr(record, name) for record in images.records] == \
            [getattr(record, name) for record in audited.records]
    assert images.category_ids == audited.category_ids and not any(len(record.labels) for record in images.records)
    shared_validation(settings, None, files, tmp_path, first)
    assert shared_validation(settings, None, files, tmp_path, second) is None
