"""From pictures to a trained, evaluated, exported detector with the commands that the README shows."""
from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.checkpoint import read_weights

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("train", "eval", "export", "predict", "preprocess", "postprocess")


def files(folder: Path) -> set:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def printed(done) -> str:
    return done.stdout + done.stderr


def passed(done):
    """The finished call, which has to have worked."""
    assert done.returncode == 0, printed(done)
    return done


def check_refused(done, code: int, words: str) -> str:
    """The one clear message of a call that has to fail."""
    assert done.returncode == code, printed(done)
    assert "Traceback" not in printed(done)
    message = done.stderr[done.stderr.index("error: "):]
    assert re.search(words, message), message
    return message


# Answers without MindSpore

WRONG_USES = [(command, *case) for command in COMMANDS for case in [
    (("--help",), 0, f"usage: python {command}.py"),
    (("--model_name=ssd300", "--epoch_sise=3"), 2, r"unknown key 'epoch_sise'; did you mean epoch_size\?"),
    (("--model_name=ssd300", "--batch_size=many"), 2, "batch_size = 'many'.*expected int"),
    (("--model_name=sdd300",), 2, "unknown model 'sdd300'; available: ssd300"),
    (("--config_path=missing.yaml",), 2, "missing.yaml"),
    (("epoch_size", "3"), 2, "unexpected argument 'epoch_size'"),
    ((), 2, "no model given"),
]]
MISSING_PATHS = [(command, ("--model_name=ssd300", *flags), 2, words) for command, flags, words in [
    ("train", ("--coco_root=nowhere", "--run_eval=True"), "nowhere"),
    ("eval", ("--model_path=nowhere.ckpt",), "nowhere.ckpt does not exist; check --model_path"),
    ("eval", (), "add --model_path FILE"),
    ("eval", ("--model_path=model.pth",), "unknown kind of model '.pth'"),
    ("export", ("--model_path=nowhere.ckpt",), "nowhere.ckpt does not exist"),
    ("predict", ("--model_path=nowhere.ckpt",), "nowhere.ckpt does not exist"),
    ("predict", ("--model_path=here.ckpt",), "add --img_path IMAGE"),
    ("predict", ("--model_path=here.ckpt", "--img_path=nowhere.jpg"), "nowhere.jpg does not exist"),
    ("predict", ("--model_path=here.ckpt", "--img_path=."), "holds no image"),
    ("predict", ("--model_path=here.ckpt", "--img_path=list.txt"), "nowhere.jpg does not exist"),
    ("export", ("--model_path=here.ckpt", "--file_format=TFLITE"), r"expected MINDIR \| ONNX \| AIR"),
]]
ANSWER = """
import contextlib, importlib, io, json, sys
from src.entry import run

sys.modules["mindspore"] = None  # importing it fails
answers = []
for command, flags in json.load(sys.stdin):
    sys.argv, out, err = [command, *flags], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run(importlib.import_module(command).main)
        except SystemExit as end:
            code = end.code
    answers.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> SimpleNamespace:
    """What the calls of WRONG_USES and MISSING_PATHS answer, all in one process without MindSpore.

    `of`: {(command, flags): (exit code, stdout, stderr)}; `cwd`: the folder they were called in.
    """
    cwd = tmp_path_factory.mktemp("answers")
    (cwd / "here.ckpt").write_bytes(b"")
    (cwd / "list.txt").write_text("nowhere.jpg\n")
    calls = [(command, flags) for command, flags, _, _ in WRONG_USES + MISSING_PATHS]
    done = subprocess.run([sys.executable, "-c", ANSWER], input=json.dumps(calls), cwd=cwd, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(of=dict(zip(calls, json.loads(done.stdout))), cwd=cwd)


@pytest.mark.parametrize("command, flags, code, words", WRONG_USES + MISSING_PATHS, ids=lambda value: str(value)[:40])
def test_wrong_use_is_answered_before_mindspore_is_imported(answers, command, flags, code, words):
    given, out, err = answers.of[command, flags]
    assert given == code, err
    assert re.search(words, err if code else out)
    assert "Traceback" not in err and (not code or err.startswith("error: "))


def test_wrong_use_leaves_no_files(answers):
    assert files(answers.cwd) == {"here.ckpt", "list.txt"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_model_takes_less_than_two_seconds_of_the_processor(command, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, ROOT / f"{command}.py", "--model_name", "ssd300", "--help", "all"],
                          cwd=tmp_path, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    assert passed(done).stderr == "" and re.search(r"--min_score .*\[float; ", done.stdout, re.DOTALL)
    assert files(tmp_path) == set()


# Data set

def test_only_create_dataset_writes_mindrecord_and_stops(drawn):
    passed(drawn.prepared)
    # The other families wrote theirs into the same folder.
    of_ssd = {name for name in files(drawn.folder / "mindrecord") if name.startswith("ssd")}
    assert of_ssd == {"ssd.mindrecord", "ssd.mindrecord.db", "ssd.mindrecord.json"}
    assert re.search(r"images +8 +0 +8", drawn.prepared.stdout)
    assert files(drawn.cwd) == {f"run/{name}" for name in ("config.yaml", "versions.json", "audit.json", "audit.png",
                                                            "mindspore.log")}


# Train, evaluate, export, evaluate what was exported

@pytest.fixture(scope="module")
def exported(cli, trained) -> dict:
    """{ending: (what export.py printed, file)}"""
    calls = {ending: cli.call("export", trained.cwd, model_path=trained.checkpoint, file_format=ending.upper())
             for ending in ("mindir", "onnx")}
    (name,) = {path.stem for path in (trained.run / "export").glob("*.onnx")} or {"not exported"}
    return {ending: (done, trained.run / "export" / f"{name}.{ending}") for ending, done in calls.items()}


@pytest.fixture(scope="module")
def evaluated(cli, trained, exported) -> dict:
    """{ending: (what eval.py printed, folder of the results)}"""
    models = {"ckpt": trained.checkpoint, **{ending: path for ending, (_, path) in exported.items()}}
    return {ending: (cli.call("eval", trained.cwd, model_path=path, result_path=trained.run / f"eval_{ending}",
                              report=ending == "ckpt"), trained.run / f"eval_{ending}")
            for ending, path in models.items()}


def test_training_leaves_everything_in_its_run_folder(trained):
    passed(trained.done)
    assert files(trained.run) == {
        "config.yaml", "versions.json", "metrics.jsonl", "loss_0.log", "curves.png", "live.html",
        "mindspore.log", "validation_predictions.json", "ckpt_0/latest.json", "ckpt_0/best_map.ckpt",
        "ckpt_0/best_map.thresholds.json", f"ckpt_0/{trained.checkpoint.name}",
        f"ckpt_0/{trained.checkpoint.stem}.state.npz"}
    assert trained.checkpoint.name == f"ssd-{trained.epochs}_{2 * trained.epochs}.ckpt"
    assert [path.name for path in trained.cwd.iterdir()] == ["run"]
    assert "Audit of" not in trained.done.stdout, "the MindRecord files were current and are not written again"


def test_the_terminal_is_the_user_s(trained):
    assert "[WARNING]" not in printed(trained.done) and "mindspore/ccsrc" not in printed(trained.done)
    best = trained.run / "ckpt_0" / "best_map.ckpt"
    assert (f"run folder: {trained.run}\nlast checkpoint: {trained.checkpoint}\nbest checkpoint: {best} (epoch "
            f"{trained.epochs}: AP ") in trained.done.stdout
    assert "255 trained parameters, 8 images, 2 steps per epoch, batch 4 x 1" in trained.done.stderr


def test_training_logs_in_the_zoo_s_form(trained):
    text = (trained.run / "loss_0.log").read_text(encoding="utf-8")
    found = re.findall(r"^epoch: (\d+) step: (\d+), loss is ([\d.]+), cls_loss: [\d.]+, loc_loss: [\d.]+, lr: [\d.]+$",
                       text, re.MULTILINE)
    assert [(int(epoch), int(step)) for epoch, step, _ in found] == [
        (epoch, step) for epoch in range(1, trained.epochs + 1) for step in (1, 2)]
    assert float(found[-1][2]) < 0.2 * float(found[0][2])
    assert re.search(r"^epoch time: [\d.]+ ms, per step time: [\d.]+ ms$", text, re.MULTILINE)


def test_the_checkpoint_says_what_it_is(trained):
    weights = read_weights(trained.checkpoint)
    assert (weights.model_name, weights.classes) == ("ssd300", ("circle", "rectangle", "triangle"))


def test_evaluation_prints_the_table_and_writes_the_report(evaluated):
    done, folder = evaluated["ckpt"]
    passed(done)
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ]" in done.stdout
    assert re.search(r"\n={40}\n\nmAP: \d\.\d+", done.stdout)
    assert files(folder) >= {"config.yaml", "predictions.json", "report.html", "mindspore.log"}
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "http://" not in re.sub(r"http://www.w3.org/\S*", "", report) and "data:image" in report


def test_evaluation_while_training_measures_the_same(trained, evaluated):
    last = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()][-1]
    assert last["AP"] == pytest.approx(mean_ap(evaluated["ckpt"][0]), abs=1e-6)
    assert last["val_loss"] == pytest.approx(last["val_cls_loss"] + last["val_loc_loss"], rel=1e-4)


def mean_ap(done) -> float:
    return float(re.search(r"^mAP: (\S+)$", passed(done).stdout, re.MULTILINE)[1])


def detections(folder: Path) -> dict:
    """(image, class, rank) -> box and score, in the order of the scores."""
    rows = sorted(json.loads((folder / "predictions.json").read_text()), key=lambda row: -row["score"])
    ranks, found = {}, {}
    for row in rows:
        key = row["image_id"], row["category_id"]
        ranks[key] = ranks.get(key, -1) + 1
        found[(*key, ranks[key])] = [*row["bbox"], row["score"]]
    return found


@pytest.mark.parametrize("ending", ["mindir", "onnx"])
def test_exported_files_are_evaluated_to_the_same(exported, evaluated, ending):
    done, path = exported[ending]
    assert f"exported: {path}" in passed(done).stdout and path.is_file()
    check_same_evaluation(evaluated["ckpt"], evaluated[ending])


@pytest.mark.parametrize("ending", ["onnx", pytest.param("xml", marks=pytest.mark.nightly)])
def test_openvino_evaluates_to_the_same(cli, trained, exported, evaluated, tmp_path, ending):
    openvino = pytest.importorskip("openvino")
    path = exported["onnx"][1]
    if ending == "xml":
        for beside in (path.with_suffix(".json"), path.with_suffix(".yaml")):
            shutil.copy(beside, tmp_path)
        path, onnx_file = tmp_path / f"{path.stem}.xml", path
        openvino.save_model(openvino.convert_model(onnx_file), path, compress_to_fp16=False)
    flags = {"engine": "openvino"} if ending == "onnx" else {}
    done = cli.call("eval", trained.cwd, model_path=path, result_path=tmp_path / "eval", report=False, **flags)
    check_same_evaluation(evaluated["ckpt"], (done, tmp_path / "eval"))


@pytest.mark.nightly
def test_int8_is_measured_before_it_is_written(cli, trained, drawn, tmp_path):
    flags = {"model_path": trained.checkpoint, "file_format": "ONNX", "int8": True,
             "coco_root": drawn.folder / "shapes",
             "val_data_type": "train2017", "file_name": tmp_path / "cells", "result_path": tmp_path / "audit"}
    done = passed(cli.call("export", tmp_path, **flags, int8_max_ap_loss=1))
    before, after = map(float, re.search(r"^AP: (\S+) in float32, (\S+) in int8$", done.stdout, re.MULTILINE).groups())
    assert "calibration: 8 of 8 images of" in done.stdout and before > 0.2
    assert not (tmp_path / "cells.onnx").exists()
    about = json.loads((tmp_path / "cells_int8.json").read_text(encoding="utf-8"))["files"]["ONNX"]["int8"]
    assert about["before"]["AP"] == pytest.approx(before, abs=1e-4) and about["images"] == 8

    done = cli.call("eval", tmp_path, model_path=tmp_path / "cells_int8.onnx", result_path=tmp_path / "eval",
                    report=False)
    assert mean_ap(done) == pytest.approx(after, abs=1e-4)


@pytest.mark.parametrize("flags, message", [
    ({"file_format": "MINDIR"}, "int8 is for ONNX files, and --file_format is MINDIR"),
    ({"file_format": "ONNX", "coco_root": "missing"}, "missing")])
def test_int8_without_what_it_needs_is_wrong_use(cli, trained, tmp_path, flags, message):
    done = cli.call("export", tmp_path, model_path=trained.checkpoint, int8=True, **flags)
    assert done.returncode == 2 and message in done.stderr


def check_same_evaluation(one: tuple, other: tuple) -> None:
    """Whether two calls of eval.py, each with the folder of its results, found and measured the same."""
    assert mean_ap(other[0]) == pytest.approx(mean_ap(one[0]), abs=1e-4)
    own, others = detections(one[1]), detections(other[1])
    assert len(own) > 20
    assert abs(len(own) - len(others)) <= 0.02 * len(own)  # those that a rounding moves over a threshold
    same = sum(np.allclose(own[key], others[key], atol=0.05) for key in own if key in others)
    assert same >= 0.95 * len(own)


def test_an_onnx_file_alone_is_evaluated_as_by_run_eval_onnx(cli, drawn, exported, evaluated, tmp_path):
    """The zoo's arguments: root of the data, name of the subset, file, pattern of the annotations, device, settings."""
    model = shutil.copy(exported["onnx"][1], tmp_path / "alone.onnx")
    annotations = shutil.copytree(drawn.folder / "shapes" / "annotations", tmp_path / "elsewhere")
    done = cli.call("eval", tmp_path, coco_root=drawn.folder / "shapes", val_data_type="train2017", model_path=model,
                    instances_set=annotations / "instances_{}.json", device_target="CPU", img_shape="96,96",
                    config_path=drawn.flags["config_path"], classes="background,circle,rectangle,triangle",
                    report=False)
    assert mean_ap(done) == pytest.approx(mean_ap(evaluated["ckpt"][0]), abs=1e-4)
    assert f"ground truth: {annotations / 'instances_train2017.json'}, 8 images" in done.stdout


@pytest.mark.parametrize("ending", ["mindir", "onnx"])
def test_an_export_says_how_it_is_run(exported, ending):
    _, path = exported[ending]
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert about["model_name"] == "ssd300" and about["classes"] == ["circle", "rectangle", "triangle"]
    assert (about["input"]["height"], about["input"]["width"], about["batch_size"]) == (96, 96, 1)
    assert [output["name"] for output in about["outputs"]] == ["boxes", "scores"]
    assert about["inputs"] == [{"name": "images", "type": "float32", "shape": [1, 3, 96, 96]}]
    assert about["files"][ending.upper()]["largest_difference"] < 1e-4
    assert path.with_suffix(".yaml").is_file()


@pytest.mark.usefixtures("exported")
def test_exports_leave_no_unfinished_files(trained):
    names = files(trained.run / "export")
    assert {Path(name).suffix for name in names} == {".mindir", ".onnx", ".json", ".yaml", ".log"}
    assert {path.name for path in trained.cwd.iterdir()} == {"run"}


def test_air_needs_an_ascend(cli, trained):
    done = cli.call("export", trained.cwd, model_path=trained.checkpoint, file_format="AIR")
    check_refused(done, 1, "AIR is written by the Ascend backend only.*MINDIR")


def test_an_exported_file_is_not_exported_again(cli, trained, exported):
    done = cli.call("export", trained.cwd, model_path=exported["onnx"][1])
    check_refused(done, 2, "is exported already; give a .ckpt")


def test_an_evaluation_without_detections_is_a_result(cli, trained):
    folder = trained.run / "eval_nothing"
    done = cli.call("eval", trained.cwd, model_path=trained.checkpoint, min_score=1, result_path=folder)
    assert mean_ap(done) == 0
    assert json.loads((folder / "predictions.json").read_text()) == []
    assert "Why the AP is not above 0:\n- " in done.stdout
    assert (folder / "report.html").is_file()


# Pictures

@pytest.fixture(scope="module")
def pictures(drawn, tmp_path_factory) -> Path:
    """a.jpg, b.jpg, a broken one between them in the order of names, and a list of the first and the last."""
    folder = tmp_path_factory.mktemp("pictures")
    source = sorted((drawn.folder / "shapes" / "val2017").iterdir())
    shutil.copy(source[0], folder / "a.jpg")
    (folder / "ab.jpg").write_bytes(source[1].read_bytes()[:300])
    shutil.copy(source[1], folder / "b.jpg")
    (folder / "notes.md").write_text("no picture")
    (folder / "list.txt").write_text("b.jpg\n\na.jpg\n")
    return folder


def predicted(folder: Path) -> list:
    return json.loads((folder / "predictions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("given, names", [("a.jpg", ["a.jpg"]), ("list.txt", ["b.jpg", "a.jpg"])])
def test_predicts_on_a_picture_and_on_a_list(cli, exported, pictures, tmp_path, given, names):
    done = cli.call("predict", tmp_path, model_path=exported["onnx"][1], img_path=pictures / given,
                    result_path=tmp_path / "out")
    passed(done)
    rows = predicted(tmp_path / "out")
    assert [Path(row["file"]).name for row in rows] == names
    drawn = {f"{number:04d}_{Path(name).stem}.jpg" for number, name in enumerate(names)}
    assert files(tmp_path) == {f"out/{name}" for name in drawn | {"predictions.json", "mindspore.log"}}
    for detection in rows[0]["detections"]:
        assert detection["class"] in ("circle", "rectangle", "triangle") and 0 <= detection["score"] <= 1
        x1, y1, x2, y2 = detection["box"]
        assert 0 <= x1 <= x2 <= 300 and 0 <= y1 <= y2 <= 300
    assert rows[0]["detections"]


def test_a_broken_picture_is_reported_and_the_others_are_done(cli, trained, pictures):
    """Without result_path: into the run that the checkpoint is from."""
    done = cli.call("predict", trained.cwd, model_path=trained.checkpoint, img_path=pictures)
    assert done.returncode == 1
    assert re.search(r"^not read: .*ab\.jpg", done.stderr, re.MULTILINE) and "Traceback" not in done.stderr
    assert [Path(row["file"]).name for row in predicted(trained.run / "predict")] == ["a.jpg", "b.jpg"]
    assert {path.name for path in trained.cwd.iterdir()} == {"run"}
    assert {path.name for path in pictures.iterdir()} == {"a.jpg", "ab.jpg", "b.jpg", "notes.md", "list.txt"}


# Other classes

@pytest.fixture(scope="module")
def two_classes(drawn, trained) -> dict:
    """Flags of a training of two of the three classes, from the trained checkpoint."""
    return {**drawn.flags, "classes": "triangle,circle", "mindrecord_dir": drawn.folder / "two_classes",
            "pre_trained": trained.checkpoint, "epoch_size": 1, "run_eval": False, "ema_decay": 0}


def test_a_checkpoint_of_other_classes_is_refused(cli, two_classes, tmp_path):
    done = cli.call("train", tmp_path, **two_classes, output_path=tmp_path / "run")
    message = check_refused(done, 2, "filter_weight")
    assert "trained on 3 classes" in message and "the data has 2" in message


@pytest.mark.nightly
def test_transfer_to_other_classes_with_a_frozen_backbone(cli, two_classes, trained, tmp_path):
    run = tmp_path / "run"
    passed(cli.call("train", tmp_path, **two_classes, output_path=run, filter_weight=True, freeze_layer="backbone",
                    checkpoint_filter_list="multi_cls_layers"))
    old, new = read_weights(trained.checkpoint), read_weights(next((run / "ckpt_0").glob("ssd-1_*.ckpt")))
    assert new.classes == ("triangle", "circle")
    assert sorted(new.arrays) == sorted(old.arrays)
    outputs = [old.arrays["class_predictors.0.pointwise.bias"], new.arrays["class_predictors.0.pointwise.bias"]]
    assert len(outputs[0]) / 4 == len(outputs[1]) / 3  # background and three, background and two
    changed = {name.split(".")[0] for name, array in new.arrays.items()
               if not name.endswith(("moving_mean", "moving_variance")) and not np.array_equal(array, old.arrays[name])}
    assert changed == {"extras", "box_predictors", "class_predictors"}


def test_evaluating_with_other_classes_is_refused(cli, trained):
    done = cli.call("eval", trained.cwd, model_path=trained.checkpoint, classes="circle,rectangle",
                    result_path=trained.run / "refused")
    message = check_refused(done, 2, "was trained on 3 classes")
    assert "the configuration names 2" in message


def test_a_model_in_the_place_of_a_checkpoint_is_refused(cli, drawn, exported, tmp_path):
    shutil.copy(exported["onnx"][1], tmp_path / "renamed.ckpt")
    flags = {"config_path": drawn.flags["config_path"], "coco_root": drawn.flags["coco_root"]}
    done = cli.call("eval", tmp_path, **flags, model_path=tmp_path / "renamed.ckpt", result_path=tmp_path / "out")
    check_refused(done, 1, "renamed.ckpt cannot be read as a MindSpore checkpoint")
