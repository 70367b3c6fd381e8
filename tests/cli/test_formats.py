"""The same images as COCO, as Pascal VOC in the zoo's layout and as text rows: one training, one AP."""
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.mindrecord_description import open_mindrecord
from src.data.mindrecord_rows import read_rows

CLASSES = ("circle", "rectangle", "triangle")


@pytest.fixture(scope="module")
def forms(drawn, tmp_path_factory) -> SimpleNamespace:
    """The eight training pictures for training and for evaluation; `voc`, `other`: flags that name them."""
    folder, pictures = tmp_path_factory.mktemp("forms"), drawn.folder / "shapes" / "train2017"
    content = json.loads((drawn.folder / "shapes" / "annotations" / "instances_train2017.json").read_text())
    objects = {image["id"]: [] for image in content["images"]}
    for entry in content["annotations"]:
        x, y, width, height = entry["bbox"]
        objects[entry["image_id"]].append((entry["category_id"], (x, y, x + width, y + height)))
    for split in ("train", "eval"):
        shutil.copytree(pictures, folder / "helmet" / split)
        for image in content["images"]:
            path = folder / "helmet" / split / Path(image["file_name"]).with_suffix(".xml").name
            path.write_text(xml(image, objects[image["id"]]))
    rows = [" ".join([image["file_name"], *(",".join(map(str, (*box, label))) for label, box in objects[image["id"]])])
            for image in content["images"]]
    for name in ("train.txt", "val.txt"):
        (folder / name).write_text("\n".join(rows) + "\n")
    names = ",".join(("background", *CLASSES))  # as the zoo's files have them
    return SimpleNamespace(
        folder=folder, content=content,
        voc={"dataset": "voc", "voc_root": folder / "helmet", "classes": names, "num_classes": 4,
             "voc_json": "annotations/voc_instances_val.json"},
        other={"dataset": "other", "image_dir": pictures, "anno_path": folder / "train.txt",
               "val_anno_path": folder / "val.txt", "classes": names, "num_classes": 4})


def xml(image: dict, objects: list) -> str:
    """VOC counts pixels from 1."""
    def corners(box):
        return "".join(f"<{key}>{side + 1}</{key}>" for key, side in zip(("xmin", "ymin", "xmax", "ymax"), box))

    described = "".join(f"<object><name>{CLASSES[label - 1]}</name><bndbox>{corners(box)}</bndbox></object>"
                        for label, box in objects)
    return (f"<annotation><filename>{image['file_name']}</filename><size><width>{image['width']}</width>"
            f"<height>{image['height']}</height><depth>3</depth></size>{described}</annotation>")


def mean_ap(done) -> float:
    assert done.returncode == 0, done.stdout + done.stderr
    return float(re.search(r"^mAP: (\S+)$", done.stdout, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def evaluate(cli, trained, tmp_path_factory):
    def call(**flags):
        return cli.call("eval", trained.cwd, model_path=trained.checkpoint, result_path=tmp_path_factory.mktemp("eval"),
                        report=False, **{"classes": None, "num_classes": None, **flags})

    return call


def training_rows(folder: Path) -> dict:
    """file name -> its row in the MindRecord files that are trained from."""
    files = open_mindrecord(folder, "ssd.mindrecord")
    assert files.classes == CLASSES
    return {Path(row["file"]).name: row for row in read_rows(files, range(files.image_count))}


@pytest.mark.parametrize("form", ["voc", "other"])
def test_training_sees_the_same(cli, drawn, forms, tmp_path, form):
    flags = {**drawn.flags, **getattr(forms, form), "mindrecord_dir": tmp_path / "mindrecord"}
    done = cli.call("train", tmp_path, **flags, output_path=tmp_path / "run", only_create_dataset=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found, wanted = (training_rows(folder) for folder in (tmp_path / "mindrecord", drawn.flags["mindrecord_dir"]))
    assert found.keys() == wanted.keys() and len(found) == 8
    for name, row in found.items():
        for column in ("image", "height", "width", "labels", "crowd"):
            np.testing.assert_array_equal(row[column], wanted[name][column], err_msg=f"{name} {column}")
        np.testing.assert_allclose(row["boxes"], wanted[name]["boxes"], atol=1e-4)
    audit = json.loads((tmp_path / "run" / "audit.json").read_text())
    assert audit["after"] == {"images": 8, "boxes": len(forms.content["annotations"])}
    counts = np.bincount([entry["category_id"] for entry in forms.content["annotations"]], minlength=4)[1:].tolist()
    assert [audit["statistics"]["classes"][name]["boxes"] for name in CLASSES] == counts


@pytest.fixture
def as_the_zoo_wrote_it(forms):
    """The zoo's json beside the VOC folder."""
    path = forms.folder / "helmet" / "annotations" / "voc_instances_val.json"
    path.parent.mkdir()
    categories = [{"supercategory": "none", "id": number, "name": name}
                  for number, name in enumerate(("background", *CLASSES))]
    path.write_text(json.dumps({**forms.content, "type": "instances", "categories": categories}))
    yield path
    shutil.rmtree(path.parent)


def evaluated_records(drawn, flags: dict) -> tuple:
    """(source, {file name: (boxes, labels, crowd) of its objects in the order of their corners}) of eval.py."""
    config = load_config([f"--{key}={value}" for key, value in {**drawn.flags, "val_data_type": "train2017",
                                                                **flags}.items()], "eval")
    annotations = load_split(config.data, "val", CLASSES)
    assert annotations.classes == CLASSES
    found = {}
    for record in annotations.records:
        order = np.lexsort(record.boxes.T)
        found[record.image_path.name] = [array[order] for array in (record.boxes, record.labels, record.crowd)]
    return annotations.source, found


def check_records(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys() and len(found) == 8
    for name, arrays in found.items():
        for array, expected in zip(arrays, wanted[name]):
            np.testing.assert_allclose(array, expected, atol=1e-4, err_msg=name)


def test_every_form_is_evaluated_against_the_same_objects(drawn, forms, request):
    _, wanted = evaluated_records(drawn, {})
    for flags, name in ((forms.other, "val.txt"), (forms.voc, "helmet")):
        source, found = evaluated_records(drawn, flags)
        assert Path(source) == forms.folder / name
        check_records(found, wanted)
    path = request.getfixturevalue("as_the_zoo_wrote_it")
    source, found = evaluated_records(drawn, forms.voc)
    assert Path(source) == path
    check_records(found, wanted)


def test_voc_is_evaluated_to_the_ap_of_coco(forms, evaluate, as_the_zoo_wrote_it):
    as_coco, as_voc = mean_ap(evaluate()), evaluate(**forms.voc)
    assert mean_ap(as_voc) == pytest.approx(as_coco, abs=1e-4) and as_coco > 0.01
    assert f"ground truth: {as_the_zoo_wrote_it}, 8 images" in as_voc.stdout
    assert re.search(r"^VOC AP at IoU 0.5; .*\n.*\ncircle +\d", as_voc.stdout, re.MULTILINE)


def test_a_number_of_classes_that_does_not_fit_is_refused(forms, evaluate):
    done = evaluate(**{**forms.voc, "num_classes": 81})
    assert done.returncode == 2 and "num_classes is 81, which does not fit 3 classes" in done.stderr
