"""One call of eval.py reads annotations, checkpoint and predictions once each."""
from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

import eval as eval_program
from src import checkpoint
from src.data import annotation_files, coco_json
from src.data.shapes import draw_shapes
from src.evaluation import matching, model_file, predictions
from src.ops.detections import Detections

CLASSES = ("circle", "rectangle", "triangle")
READERS = {"annotation files": annotation_files.read_bytes, "annotations in COCO's form": coco_json.to_coco,
           "checkpoints": checkpoint.read_weights, "predictions": predictions.read_predictions,
           "rows checked": predictions._fault, "rows grouped": matching.group_by_image}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Three images to evaluate on, as COCO and as VOC, and a checkpoint that names their classes."""
    folder = tmp_path_factory.mktemp("drawn")
    draw_shapes(folder / "coco", train=1, val=3, size=(160, 120))
    voc = folder / "voc" / "eval"
    (folder / "coco" / "val2017").rename(folder / "images")
    voc.mkdir(parents=True)
    (folder / "coco" / "val2017").symlink_to(folder / "images")
    content = json.loads((folder / "coco" / "annotations" / "instances_val2017.json").read_text())
    for image in content["images"]:
        objects = [xml(entry) for entry in content["annotations"] if entry["image_id"] == image["id"]]
        name = image["file_name"]
        (voc / name).write_bytes((folder / "images" / name).read_bytes())
        (voc / name).with_suffix(".xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    checkpoint.save_weights(folder / "a.ckpt", {"weight": ms.Tensor(np.zeros(1, np.float32))}, "ssd300", CLASSES)
    return folder


def xml(entry: dict) -> str:
    x, y, width, height = entry["bbox"]
    corners = zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + width, y + height))
    box = "".join(f"<{key}>{side + 1}</{key}>" for key, side in corners)
    return f"<object><name>{CLASSES[entry['category_id'] - 1]}</name><bndbox>{box}</bndbox></object>"


class Knowing:
    """Finds all objects of the images in their order, or one box of every image where nothing is."""

    classes = CLASSES

    def __init__(self, found: list):
        self.found = iter(found)

    def inference(self, _network):
        return None

    def views(self, image, **_):
        return [(np.zeros((3, 1, 1), np.float32), image.shape[:2])]

    def further_inputs(self, _geometry):
        return ()

    def postprocess_views(self, _outputs, _geometries):
        boxes, labels = next(self.found)
        return Detections(boxes, np.linspace(0.9, 0.5, len(labels)).astype(np.float32), labels)


@pytest.fixture
def count_reads(drawn, tmp_path, monkeypatch):
    """count_reads(finds_objects, **flags) -> how often eval.py called each of READERS, and the rows that it wrote."""
    path = drawn / "coco" / "annotations" / "instances_val2017.json"
    annotated = coco_json.load_coco(path, drawn / "images").records

    def run(finds_objects: bool, **flags) -> Counter:
        nothing = np.array([[0, 0, 1, 1]], np.float32), np.zeros(1, np.int32)
        detector = Knowing([(record.boxes, record.labels) if finds_objects else nothing for record in annotated])
        monkeypatch.setattr(eval_program, "choose_device", lambda *_: None)  # MindSpore takes one per process
        monkeypatch.setattr(model_file, "load_network", lambda *_: (None, detector))
        monkeypatch.setattr(model_file, "network_runner", lambda _: lambda images: [images])
        names = {function.__code__: name for name, function in READERS.items()}
        calls = Counter()

        def note(frame, event, _argument):
            if event == "call" and frame.f_code in names:
                calls[names[frame.f_code]] += 1

        arguments = {"model_name": "ssd300", "model_path": drawn / "a.ckpt", "result_path": tmp_path, **flags}
        before = sys.getprofile()
        sys.setprofile(note)
        try:
            assert eval_program.main([f"--{key}={value}" for key, value in arguments.items()]) == 0
        finally:
            sys.setprofile(before)
        calls["rows"] = len(json.loads((tmp_path / "predictions.json").read_text()))
        return calls

    return run


@pytest.mark.parametrize("form, finds_objects, visual_image", [
    ("coco", True, False), ("coco", False, True), ("voc", True, True), ("voc", False, True)])
def test_eval_reads_everything_once(drawn, count_reads, tmp_path, capfd, form, finds_objects, visual_image):
    flags = {"coco": {"coco_root": drawn / "coco"}, "voc": {"dataset": "voc", "voc_root": drawn / "voc"}}[form]

    calls = count_reads(finds_objects, visual_image=visual_image, **flags)

    printed = capfd.readouterr().out
    assert float(re.search(r"^mAP: (.*)$", printed, re.MULTILINE)[1]) == pytest.approx(float(finds_objects))
    assert ("Why the AP is not above 0" in printed) is not finds_objects
    assert ("VOC AP at IoU 0.5" in printed) is (form == "voc")
    assert (tmp_path / "report.html").is_file() and (tmp_path / "pred_image").is_dir() is visual_image
    files = 1 if form == "coco" else 3  # one json, or one xml per image
    assert calls == {"annotation files": files, "annotations in COCO's form": 1, "checkpoints": 1, "predictions": 1,
                     "rows": calls["rows"], "rows checked": calls["rows"], "rows grouped": 1}
