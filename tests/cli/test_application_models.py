"""Pictures -> C++ application -> postprocess.py gives what eval.py gives, for real exported models."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import recipe

from src.data.images import encode_jpeg, read_image
from src.detectors import DETECTORS, build_detector, load_config

ROOT = Path(__file__).resolve().parents[2]
NEAR = 0.01  # pixels
SAME_SCORE = 1e-4
SSD = "--min_score=0.01"
MODELS = [
    ("ssd300", "--img_shape=96,96", SSD),
    pytest.param("ssd_mobilenet_v1", "--img_shape=96,96", SSD, marks=pytest.mark.nightly),
    pytest.param("ssd_mobilenet_v1_fpn", "--img_shape=136,96", SSD, marks=pytest.mark.nightly),
    pytest.param("ssd_resnet50_fpn", "--img_shape=136,96", SSD, marks=pytest.mark.nightly),
    pytest.param("ssd_vgg16", "--img_shape=272,264", SSD, marks=pytest.mark.nightly),
    ("centernet_resnet50", "--input_res_test=128,160", "--up_sampling=plain"),
    pytest.param("centernet_resnet101", "--input_res_test=128,160", "--up_sampling=plain", marks=pytest.mark.nightly),
    pytest.param("faster_rcnn_resnet50", "--img_height=128", "--img_width=192", marks=pytest.mark.nightly),
    pytest.param("faster_rcnn_res2net50", "--img_height=128", "--img_width=192", marks=pytest.mark.nightly),
]
ENGINES = {"openvino": "onnx", "mindspore": "mindir"}


def by_picture(path: Path) -> dict:
    """image id -> rows of class, x, y, width, height, score."""
    found = {}
    for row in json.loads(path.read_text()):
        found.setdefault(row["image_id"], []).append([row["category_id"], *row["bbox"], row["score"]])
    return {image: np.array(rows) for image, rows in found.items()}


def summary(done) -> str:
    assert done.returncode == 0, done.stderr
    return re.search(r"^mAP: (\S+)$", done.stdout, re.MULTILINE)[1]


def check_equal_detections(own: dict, others: dict) -> None:
    """Every detection has its like on the other side, except that rounding may choose among the lowest scores."""
    assert own.keys() == others.keys() and sum(map(len, own.values())) > 20
    for image in own:
        for rows, there in ((own[image], others[image]), (others[image], own[image])):
            distance = np.abs(rows[:, None] - there[None])
            alike = (distance[..., 0] == 0) & (distance[..., 1:5].max(-1) <= NEAR) & (distance[..., 5] <= SAME_SCORE)
            alone = rows[~alike.any(1)]
            assert (alone[:, 5] <= rows[:, 5].min() + SAME_SCORE).all(), (image, alone)
            assert len(alone) <= 0.05 * len(rows), (image, alone)


@pytest.mark.parametrize("model", {row.family: name for name, row in DETECTORS.items()}.values())
def test_networks_get_the_bits_of_their_python_transform(application, tmp_path, model):
    detector = build_detector(load_config(["--model_name", model], "eval"), ("object",))
    _, height, width = detector.input_shape
    (tmp_path / "model.mindir").write_text(f"1 3 {height} {width}")
    (tmp_path / "model.json").write_text(json.dumps({"batch_size": 1, **detector.sidecar()}))
    (tmp_path / "pictures").mkdir()
    for name, size in {"landscape": (213, 320), "portrait": (301, 200), "large": (800, 1301)}.items():
        (tmp_path / "pictures" / f"{name}.jpg").write_bytes(encode_jpeg(recipe.image(*size, 1)))
    done = application(tmp_path, mindir_path="model.mindir", dataset_path="pictures", save_inputs="inputs",
                       engine="mslite")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "pictures").iterdir():
        image = read_image(path)
        wanted, geometry = detector.preprocess(image)
        found = np.fromfile(tmp_path / "inputs" / f"{path.stem}.bin", np.float32).reshape(wanted.shape)
        np.testing.assert_array_equal(found, wanted, path.name)
        assert repr(detector.geometry(*image.shape[:2])) == repr(geometry)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model, size, setting", MODELS)
def test_the_application_detects_what_eval_detects(cli, drawn, exported_recipe, application, tmp_path, model, size,
                                                   setting, engine):
    if engine not in application.engines:
        pytest.skip(f"the engine {engine} is not tested: its package is not installed")
    path = exported_recipe(model, ENGINES[engine], size, setting)
    data = {"coco_root": drawn.folder / "shapes", "model_path": path, "report": False}
    evaluated = cli.call("eval", tmp_path, **data, result_path=tmp_path / "eval")
    done = application(tmp_path, mindir_path=path, dataset_path=drawn.folder / "shapes" / "val2017", engine=engine)
    assert done.returncode == 0, done.stderr
    measured = cli.call("postprocess", tmp_path, **data)
    assert float(summary(measured)) == pytest.approx(float(summary(evaluated)), abs=1e-4)
    check_equal_detections(by_picture(tmp_path / "eval" / "predictions.json"),
                           by_picture(tmp_path / "postprocess" / "predictions.json"))


def test_the_zoo_s_script_builds_on_it(drawn, exported_recipe, application, tmp_path):
    path = exported_recipe("ssd300", "mindir", "--img_shape=96,96", SSD)
    main = tmp_path / "main"  # of itself it would take mslite, which is a stand-in here
    main.write_text(f"#!/bin/sh\nexec {application.path} --engine=mindspore \"$@\"\n")
    main.chmod(0o755)
    environment = {**os.environ, "INFER_MAIN": str(main),
                   "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = ["bash", ROOT / "scripts" / "ssd" / "run_infer_310.sh", path, drawn.folder / "shapes" / "val2017", "CPU"]
    done = subprocess.run([*script, "--report=false"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 pictures in" in (tmp_path / "infer.log").read_text()
    assert re.search(r"^mAP: \d", (tmp_path / "acc.log").read_text(), re.MULTILINE)
    assert len(list((tmp_path / "result_Files").iterdir())) == 2 * 4 + 1
