"""Pictures -> C++ application -> postprocess.py gives what eval.py gives, for real exported models."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
import recipe
from constant_networks import CLASSES, centernet_outputs, ssd_outputs, two_stage_outputs, write_network
from pycocotools import mask
from small_models import MODELS, SSD

from src.command_line import load_config
from src.data.images import encode_jpeg, read_image
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.result_files import ResultFiles
from src.export.lite import obstacles
from src.export.onnx_postprocess import add_postprocess
from src.models import build_detector

ROOT = Path(__file__).resolve().parents[2]
NEAR = 0.01  # pixels
SAME_SCORE = 1e-4
ENGINES = {"openvino": "onnx", "mindspore": "mindir"}
# The rest is nightly: by day every family's network input is compared bit for bit, ssd300 goes through OpenVINO in the
# test of names and through MindSpore in that of the zoo's script.
BY_DAY = {("mask_rcnn_resnet50", "openvino")}
CASES = [pytest.param(*case, marks=() if case in BY_DAY else pytest.mark.nightly) for case in product(MODELS, ENGINES)]


def by_picture(path: Path) -> dict:
    """image id -> rows of class, x, y, width, height, score."""
    found = {}
    for row in json.loads(path.read_text()):
        found.setdefault(row["image_id"], []).append([row["category_id"], *row["bbox"], row["score"]])
    return {image: np.array(rows) for image, rows in found.items()}


def aps(done) -> list:
    """AP of the boxes and, of a model that has them, of the masks."""
    assert done.returncode == 0, done.stderr
    return [float(value) for value in re.findall(r"^(?:mask )?mAP: (\S+)$", done.stdout, re.MULTILINE)]


def annotations_of(detections: Path, drawn: Path, target: Path) -> Path:
    """Every second detection of the drawn pictures becomes an object, by a third narrower: untrained weights find no
    drawn shape, and no error would move an AP of 0."""
    content, rows = json.loads(drawn.read_text()), json.loads(detections.read_text())
    content["annotations"] = []
    for number, row in enumerate([row for row in rows if min(row["bbox"][2:]) > 8][::2], 1):
        x, y, width, height = row["bbox"]
        content["annotations"].append({"segmentation": [[0, 0, 9, 0, 9, 9]], **row, "id": number, "iscrowd": 0,
                                       "bbox": [x, y, 0.67 * width, height], "area": 0.67 * width * height})
    target.write_text(json.dumps(content))
    return target


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


def masks_by_picture(path: Path) -> dict:
    """image id -> run-length encoded masks."""
    found = {}
    for row in json.loads(path.read_text()):
        found.setdefault(row["image_id"], []).append(row["segmentation"])
    return found


def check_equal_masks(own: dict, others: dict) -> None:
    """Every mask has its like on the other side, but for pixels at the threshold and the rows that
    check_equal_detections excepts."""
    for image in own:
        overlap = mask.iou(own[image], others[image], [0] * len(others[image]))
        assert (overlap.max(1) > 0.98).mean() >= 0.95 and (overlap.max(0) > 0.98).mean() >= 0.95, image


@pytest.mark.parametrize("config", [
    "ssd/ssd300_mobilenet_v2", "ssd/ssd_vgg16_torchvision", "centernet/centernet_resnet50",
    *(f"{path}_resnet50{style}" for path in ("faster_rcnn/faster_rcnn", "mask_rcnn/mask_rcnn")
      for style in ("", "_torchvision", "_mmdet"))])
def test_networks_get_the_bits_of_their_python_transform(application, tmp_path, config):
    path = ROOT / "config" / f"{config}.yaml"
    detector = build_detector(load_config(["--config_path", str(path)], "eval"), ("object",))
    height, width = detector.input_size
    with_sizes = len(detector.input_names) == 2
    (tmp_path / "model.mindir").write_text(f"1 3 {height} {width}{' 2' if with_sizes else ''}")
    (tmp_path / "model.json").write_text(json.dumps({
        "batch_size": 1, "inputs": [{"name": name} for name in detector.input_names], **detector.export_description()}))
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
        # Two versions of OpenCV do not interpolate numbers alike: a hundredth of 255 levels.
        levels = 1e-2 if detector.export_description()["input"].get("resized_as") == "float32" else 0
        np.testing.assert_allclose(found, wanted, rtol=0, atol=levels / min(detector.std), err_msg=path.name)
        assert repr(detector.geometry(*image.shape[:2])) == repr(geometry)
        for row in detector.further_inputs(geometry):
            assert np.fromfile(tmp_path / "result_Files" / f"{path.stem}_4.bin", np.float32).tolist() == row.tolist()


def run_application(application, cwd: Path, path: Path, pictures: Path, engine: str) -> None:
    """Pictures -> cwd/result_Files, with outputs as the description of the model says."""
    if engine not in application.engines:
        pytest.skip(f"the engine {engine} is not tested: its package is not installed")
    done = application(cwd, mindir_path=path, dataset_path=pictures, engine=engine)
    assert done.returncode == 0, done.stderr
    described = json.loads(path.with_suffix(".json").read_text())["outputs"]
    assert json.loads((cwd / "result_Files" / "outputs.json").read_text())["outputs"] == [
        {**output, "shape": output["shape"][1:]} for output in described]


def equal_aps(cli, cwd: Path, **data) -> list:
    """Those of eval.py, which postprocess.py has to have in common with it, like all detections."""
    evaluated = aps(cli.call("eval", cwd, **data, report=False, result_path=cwd / "eval"))
    measured = aps(cli.call("postprocess", cwd, **data, report=False))
    newest = sorted(cwd.glob("postprocess*"))[-1]   # each call has a folder of its own
    files = cwd / "eval" / "predictions.json", newest / "predictions.json"
    check_equal_detections(*map(by_picture, files))
    if len(evaluated) == 2:
        check_equal_masks(*map(masks_by_picture, files))
    assert measured == pytest.approx(evaluated, abs=1e-4)
    return evaluated


@pytest.mark.parametrize("model, engine", CASES)
def test_the_application_detects_what_eval_detects(cli, drawn, exported_recipe, application, tmp_path, model, engine):
    path = exported_recipe(model, ENGINES[engine], *MODELS[model])
    check_application(cli, drawn, application, tmp_path, path, engine)


@pytest.mark.nightly
@pytest.mark.parametrize("style", ["torchvision", "mmdet"])
def test_it_does_so_in_the_styles_of_other_libraries(cli, drawn, exported_recipe, application, tmp_path, style):
    path = exported_recipe("mask_rcnn_resnet50", "onnx", *MODELS["mask_rcnn_resnet50"], f"--box_style={style}",
                           "--resize_sides=80,120")
    check_application(cli, drawn, application, tmp_path, path, "openvino")


def check_application(cli, drawn, application, tmp_path: Path, path: Path, engine: str) -> None:
    """The exported model at `path` gives the same detections and AP, masks included, through the application."""
    if path.suffix == ".onnx":
        assert obstacles(onnx.load(path)) == []     # to MindSpore Lite
    shapes = drawn.folder / "shapes"
    run_application(application, tmp_path, path, shapes / "val2017", engine)
    data = {"coco_root": shapes, "model_path": path}
    assert cli.call("postprocess", tmp_path, **data, report=False).returncode == 0
    made = annotations_of(tmp_path / "postprocess" / "predictions.json",
                          shapes / "annotations" / "instances_val2017.json", tmp_path / "made.json")

    found = equal_aps(cli, tmp_path, **data, instances_set=made,
                      audit_policy="many_bad_boxes=keep")  # random detections reach beyond their images

    assert len(found) == (2 if path.name.startswith("mask") else 1) and all(0.05 < ap < 0.95 for ap in found)


def test_equal_names_and_any_letters_pass_through_all_programs(cli, drawn, exported_recipe, application, tmp_path):
    """preprocess.py -> application -> postprocess.py gives what eval.py gives, where two folders hold images of one
    name and a name lies beyond the 65,536 first letters; eval.py draws each of them."""
    if "openvino" not in application.engines:
        pytest.skip("the engine openvino is not tested: its package is not installed")
    path, shapes = exported_recipe("ssd300", "onnx", "--img_shape=96,96", SSD), drawn.folder / "shapes"
    content = json.loads((shapes / "annotations" / "instances_val2017.json").read_text())
    names = ["a/0000.jpg", "b/0000.jpg", "b/\U0001f600.jpg", "c.jpg"]
    for entry, name in zip(content["images"], names):
        (tmp_path / "val2017" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "val2017" / name).write_bytes((shapes / "val2017" / entry["file_name"]).read_bytes())
        entry["file_name"] = name
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    data = {"coco_root": tmp_path, "model_path": path}

    done = cli.call("preprocess", tmp_path, **data, result_path="made")
    assert done.returncode == 0, done.stderr
    done = application(tmp_path, mindir_path=path, input0_path="made/input0", engine="openvino")
    assert done.returncode == 0, done.stderr
    found = {place.relative_to(tmp_path / "result_Files").as_posix() for place in
             (tmp_path / "result_Files").rglob("*_0.bin")}
    assert found == {name.replace(".jpg", "_0.bin") for name in names}
    evaluated = cli.call("eval", tmp_path, **data, report=False, result_path="eval", visual_image=True)
    assert aps(evaluated) == pytest.approx(aps(cli.call("postprocess", tmp_path, **data, report=False)), abs=1e-4)
    check_equal_detections(*(by_picture(tmp_path / folder / "predictions.json") for folder in ("eval", "postprocess")))
    for folder in ("gt_image", "pred_image"):
        assert {place.relative_to(tmp_path / "eval" / folder).as_posix() for place in
                (tmp_path / "eval" / folder).rglob("*.jpg")} == set(names)


# In a process of its own: MindSpore, which other tests of this file import, does not start beside onnx.
WRITE_ONNX = """
import json, sys
from onnx import helper, save
inputs = json.loads(sys.argv[2])
infos = [helper.make_tensor_value_info(*each) for each in inputs]
out = [helper.make_tensor_value_info("out", *inputs[0][1:])]
graph = helper.make_graph([helper.make_node("Identity", [inputs[0][0]], ["out"])], "graph", infos, out)
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""


@pytest.mark.parametrize("inputs, message", [
    ([("images", 1, ["batch", 3, 8, 8])], "takes [?, 3, 8, 8], whose size is not fixed; export it with export.py"),
    ([("images", 1, [1, 3, 8, 8]), ("sizes", 1, [1, 2])], "has 2 inputs (images, sizes), this program feeds 1"),
    ([("images", 10, [1, 3, 8, 8])], "takes numbers of the type float16, this program feeds float32"),
    ([("images", 1, [1, 3, 8, 9])], "the model takes [1, 3, 8, 9], its description or the flags say [1, 3, 8, 8]"),
])
def test_models_of_other_programs_are_refused_by_what_they_take(application, tmp_path, inputs, message):
    if "openvino" not in application.engines:
        pytest.skip("the engine openvino is not tested: its package is not installed")
    subprocess.run([sys.executable, "-c", WRITE_ONNX, tmp_path / "MODEL.ONNX", json.dumps(inputs)], check=True)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    done = application(tmp_path, mindir_path="MODEL.ONNX", dataset_path="images", image_height=8, image_width=8,
                       mean="0,0,0", std="1,1,1")
    assert done.returncode in (1, 2) and message in done.stderr, done.stderr


@pytest.mark.parametrize("model, flags, make_outputs", [
    ("ssd300", ["--img_shape", "96,128"], ssd_outputs), ("centernet_resnet50", ["--input_res_test", "128,160"],
                                                         centernet_outputs),
    *(("mask_rcnn_resnet50", ["--img_height", "96", "--img_width", "128", "--box_style", style], two_stage_outputs)
      for style in ("zoo", "torchvision", "mmdet"))])
def test_a_model_with_postprocess_gets_resized_images_and_gives_detections(application, tmp_path, model, flags,
                                                                           make_outputs):
    if "openvino" not in application.engines:
        pytest.skip("the engine openvino is not tested: its package is not installed")
    inner = build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)
    outputs, detector = make_outputs(inner), PostprocessedDetector(inner)
    write_network(tmp_path / "model.onnx", inner, outputs)
    add_postprocess(tmp_path / "model.onnx", detector)
    rows = [{"name": name, "type": "float32", "shape": [1, *shape]}
            for name, shape in zip(detector.output_names, ((100, 6) if model == "ssd300" else (len(outputs[0]), 6),
                                                           outputs[-1].shape))]
    (tmp_path / "model.json").write_text(json.dumps({
        "batch_size": 1, "inputs": [{"name": name} for name in detector.input_names], "outputs": rows,
        **detector.export_description()}))
    image = recipe.image(70, 100, 1)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(encode_jpeg(image))

    done = application(tmp_path, mindir_path="model.onnx", dataset_path="images", save_inputs="inputs")

    assert done.returncode == 0, done.stderr
    wanted, geometry = detector.preprocess(read_image(tmp_path / "images" / "a.jpg"))
    found = np.fromfile(tmp_path / "inputs" / "a.bin", wanted.dtype).reshape(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-2 if wanted.dtype == np.float32 else 0)
    results = ResultFiles(detector, tmp_path / "result_Files", rows)
    detections = results.detector.postprocess(
        [np.fromfile(tmp_path / "result_Files" / f"a_{number}.bin", np.float32).reshape(output.shape)
         for number, output in enumerate(results.outputs)], geometry)
    of_eval = inner.postprocess(outputs, inner.geometry(70, 100))
    assert len(of_eval) and detections.labels.tolist() == of_eval.labels.tolist()
    np.testing.assert_allclose(detections.boxes, of_eval.boxes, atol=NEAR)
    assert detections.masks == of_eval.masks


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
def test_a_trained_detector_keeps_its_ap(cli, drawn, trained, application, tmp_path, engine):
    done = cli.call("export", tmp_path, model_path=trained.checkpoint, file_format=ENGINES[engine].upper(),
                    result_path=tmp_path)
    assert done.returncode == 0, done.stderr
    path, shapes = tmp_path / f"ssd.{ENGINES[engine]}", drawn.folder / "shapes"
    run_application(application, tmp_path, path, shapes / "train2017", engine)

    (found,) = equal_aps(cli, tmp_path, coco_root=shapes, model_path=path)

    assert found > 0  # else equal numbers would say nothing


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
    assert "4 images in" in (tmp_path / "infer.log").read_text()
    assert re.search(r"^mAP: \d", (tmp_path / "acc.log").read_text(), re.MULTILINE)
    assert len(list((tmp_path / "result_Files").iterdir())) == 2 * 4 + 1
