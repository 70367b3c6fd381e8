"""What is said about a model file that is missing, damaged or of another model, before and after it is opened."""
from __future__ import annotations

import hashlib
import json
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.command_line import load_config
from src.errors import CheckpointError, ConfigError, ProjectError, UsageError
from src.evaluation import model_file
from src.evaluation.model_file import ModelFile, check_model_path, open_predictor, read_model

CLASSES = ["circle", "triangle"]
DESCRIPTION = {"model_name": "ssd300", "classes": CLASSES, "batch_size": 2, "input": {"height": 300, "width": 300}}


@lru_cache
def config(*flags):
    return load_config(["--model_name", "ssd300", *flags], "eval")


@pytest.fixture
def model(tmp_path, monkeypatch):
    """model(description) -> path of a .mindir with that description (None = without); running it is not needed here."""
    monkeypatch.setattr(model_file, "mindir_runner", str)

    def make(description):
        path = tmp_path / "a.mindir"
        path.write_bytes(b"")
        if description is not None:
            text = description if isinstance(description, str) else json.dumps(description)
            path.with_suffix(".json").write_text(text, encoding="utf-8")
        return path

    return make


@pytest.mark.parametrize("path, message", [
    (None, r"add --model_path FILE \(.ckpt, .mindir, .onnx, .xml\)"), ("", "add --model_path"),
    ("a.pth", "unknown kind of model '.pth'"), ("a", "unknown kind of model ''"),
    ("missing.ckpt", "missing.ckpt does not exist; check --model_path"),
])
def test_a_path_that_is_no_model_is_refused(path, message):
    with pytest.raises(UsageError, match=message):
        check_model_path(path)


def test_a_missing_model_is_answered_with_what_lies_in_the_folder(tmp_path):
    (tmp_path / "ssd-14_686.ckpt").touch()
    with pytest.raises(UsageError, match="best_map.ckpt does not exist.*holds ssd-14_686.ckpt"):
        check_model_path(str(tmp_path / "best_map.ckpt"))
    with pytest.raises(UsageError, match="folder without a checkpoint.*holds ssd-14_686.ckpt"):
        check_model_path(str(tmp_path))


def test_of_a_run_folder_the_best_checkpoint_is_taken_and_named(tmp_path, capsys):
    (tmp_path / "ckpt_0").mkdir()
    best = tmp_path / "ckpt_0" / "best_map.ckpt"
    best.touch()
    assert check_model_path(str(tmp_path)) == best
    assert str(best) in capsys.readouterr().out


def test_endings_in_capitals_are_known(tmp_path):
    (tmp_path / "A.CKPT").write_bytes(b"")
    assert check_model_path(str(tmp_path / "A.CKPT")) == tmp_path / "A.CKPT"


def test_an_exported_file_knows_its_classes_and_batch_size(model):
    path = model(DESCRIPTION)
    assert read_model(path).classes == tuple(CLASSES)
    predictor = open_predictor(config(), read_model(path))
    assert predictor.detector.classes == tuple(CLASSES) and predictor.batch_size == 2


def test_a_file_that_is_not_the_exported_one_is_refused(model):
    digest = hashlib.sha256(b"").hexdigest()
    files = {"MINDIR": {"name": "a.mindir", "sha256": digest}, "ONNX": {"name": "a.onnx", "sha256": "0" * 64}}
    path = model({**DESCRIPTION, "files": files})
    open_predictor(config(), read_model(path))
    path.write_bytes(b"1")
    with pytest.raises(CheckpointError, match="a.mindir is not the file that a.json was written for"):
        open_predictor(config(), read_model(path))
    # Another name, as that of a file that was changed on purpose; a description of an earlier version.
    for named in ({"MINDIR": {"name": "b.mindir", "sha256": digest}}, {"MINDIR": {"checkpoint": "a.ckpt"}}):
        open_predictor(config(), read_model(model({**DESCRIPTION, "files": named})))


def test_without_a_description_file_the_classes_have_to_be_given(model):
    path = model(None)
    assert read_model(path).classes is None
    with pytest.raises(ConfigError, match=r"a.mindir does not name its classes; add --classes"):
        open_predictor(config(), read_model(path))
    given = config("--classes", "background,cat,dog")
    assert open_predictor(given, read_model(path)).detector.classes == ("cat", "dog")
    assert open_predictor(config(), read_model(path), classes_of_data=("cat",)).detector.classes == ("cat",)


@pytest.mark.parametrize("changed, flags, error, message", [
    ({"model_name": "ssd512"}, [], CheckpointError, "holds a ssd512, the configuration describes a ssd300"),
    ({}, ["--classes", "triangle,circle"], ConfigError, "was trained on 2 classes.*leave classes out"),
    ({}, ["--classes", "circle"], ConfigError, "the configuration names 1"),
    ({"input": {"height": 96, "width": 128}}, [], ConfigError, r"\[96, 128\], the configuration says \[300, 300\]"),
])
def test_a_model_that_is_not_the_configuration_s_is_refused(model, changed, flags, error, message):
    with pytest.raises(error, match=message):
        open_predictor(config(*flags), read_model(model({**DESCRIPTION, **changed})))


def test_an_onnx_file_without_a_description_file_tells_its_size_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "onnx_runner", lambda *_: (str, [(4, 3, 128, 96)]))
    with pytest.raises(ConfigError, match=r"a.onnx was exported for an input of \[128, 96\], .* says \[300, 300\]"):
        open_predictor(config(), ModelFile(tmp_path / "a.onnx"), ("cat",))
    assert open_predictor(config("--img_shape", "128,96"), ModelFile(tmp_path / "a.onnx"), ("cat",)).batch_size == 4


def test_an_onnx_file_may_leave_its_batch_size_open(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "onnx_runner", lambda *_: (str, [("batch", 3, 300, None)]))
    assert open_predictor(config("--eval_batch_size", "5"), ModelFile(tmp_path / "a.onnx"), ("cat",)).batch_size == 5


@pytest.mark.parametrize("name, flags, message", [
    ("a.mindir", ["--engine", "openvino"], r"a.mindir runs in MindSpore, and --engine openvino runs .onnx, .xml"),
    ("a.xml", ["--engine", "onnxruntime"], "a.xml is a model of OpenVINO, which onnxruntime does not read"),
    ("a.onnx", ["--precision_mode", "bf16"], "add --engine openvino"),
    ("a.xml", ["--device_target", "GPU"], "OpenVINO runs .*a.xml on the CPU, not on --device_target GPU")])
def test_an_engine_that_does_not_run_the_file_is_wrong_use(tmp_path, name, flags, message):
    with pytest.raises(UsageError, match=message):
        open_predictor(config(*flags), ModelFile(tmp_path / name), ("cat",))


@pytest.mark.parametrize("name, flags, opened_by", [
    ("a.onnx", [], "onnxruntime"), ("a.onnx", ["--engine", "onnxruntime"], "onnxruntime"), ("a.xml", [], "f32"),
    ("a.onnx", ["--engine", "openvino"], "f32"), ("a.xml", ["--precision_mode", "bf16"], "bf16")])
def test_the_engine_is_that_of_the_settings_or_of_the_file(tmp_path, monkeypatch, name, flags, opened_by):
    shape = [(1, 3, 300, 300)]
    monkeypatch.setattr(model_file, "onnx_runner", lambda *_: ("onnxruntime", shape))
    monkeypatch.setattr(model_file, "openvino_runner", lambda _path, precision, *_: (precision, shape))
    assert open_predictor(config(*flags), ModelFile(tmp_path / name), ("cat",)).run == opened_by


def test_the_engines_take_the_number_of_threads_of_the_settings(tmp_path, monkeypatch):
    given = []
    for runner in ("onnx_runner", "openvino_runner"):
        monkeypatch.setattr(model_file, runner, lambda *arguments: given.append(arguments) or (str, [(1, 3, 300, 300)]))
    for flags in (["--runtime_num_threads", "3"], ["--runtime_num_threads", "3", "--engine", "openvino"]):
        open_predictor(config(*flags), ModelFile(tmp_path / "a.onnx"), ("cat",))
    assert [arguments[3] for arguments in given] == [3, 3]


def test_a_mindir_without_its_description_file_that_does_not_fit_is_explained(tmp_path, monkeypatch):
    def run(_images):
        raise CheckpointError("a.mindir cannot be run by MindSpore: For primitive[Reshape], the accumulate of x_shape")

    monkeypatch.setattr(model_file, "mindir_runner", lambda _path: run)
    predictor = open_predictor(config(), ModelFile(tmp_path / "a.mindir"), ("cat",))
    with pytest.raises(CheckpointError, match=r"a.mindir does not take inputs of the shape \(1, 3, 300, 300\) .*Reshape"
                                              r".*a.json, .* is missing: copy it"):
        predictor([np.zeros((30, 40, 3), np.uint8)])


TWO_STAGE = {"model_name": "faster_rcnn_resnet50", "input": {"height": 768, "width": 1280}}
SIZES = [{"name": "images"}, {"name": "image_sizes"}]


@pytest.mark.parametrize("style, inputs, message", [
    ("torchvision", SIZES[:1], r"a.mindir takes 1 inputs, .* takes 2 \(images, image_sizes\); export the checkpoint "
     "again"),
    ("mmdet", None, "a.mindir takes 1 inputs"), ("zoo", SIZES, r"a.mindir takes 2 inputs, .* takes 1 \(images\)")])
def test_a_file_of_an_earlier_version_without_the_images_sizes_is_refused(model, style, inputs, message):
    description = {**DESCRIPTION, **TWO_STAGE, **({"inputs": inputs} if inputs else {})}
    with pytest.raises(CheckpointError, match=message):
        open_predictor(config("--model_name", "faster_rcnn_resnet50", "--box_style", style),
                       read_model(model(description)))


def test_so_is_such_an_onnx_file_without_a_description_file(tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "onnx_runner", lambda *_: (str, [(1, 3, 768, 1280)]))
    with pytest.raises(CheckpointError, match="a.onnx takes 1 inputs"):
        open_predictor(config("--model_name", "faster_rcnn_resnet50", "--box_style", "mmdet"),
                       ModelFile(tmp_path / "a.onnx"), ("cat",))


def test_the_same_classes_may_be_given_again(model):
    given = config("--classes", "circle,triangle")
    assert open_predictor(given, read_model(model(DESCRIPTION))).detector.classes == tuple(CLASSES)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '"text"', "\x00", '{"classes": ["circle", '])
def test_a_file_that_is_no_description_is_refused(model, content):
    with pytest.raises(CheckpointError, match="a.json .*export the model again"):
        read_model(model(content))


@pytest.mark.parametrize("changed", [
    {"classes": 5}, {"classes": "circle"}, {"classes": [1, 2]}, {"classes": []}, {"classes": {"circle": 1}},
    {"batch_size": "two"}, {"batch_size": 0}, {"batch_size": None}, {"input": 5}, {"input": {"height": 300}},
    {"input": []}, {"model_name": 5},
], ids=str)
def test_a_description_with_values_of_another_kind_is_refused(model, changed):
    with pytest.raises(CheckpointError, match="a.json|holds a 5"):
        open_predictor(config(), read_model(model({**DESCRIPTION, **changed})))


@given(data=st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_descriptions_end_in_the_project_s_errors(model, data):
    text = bytearray(json.dumps(DESCRIPTION).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    path = model(None)
    path.with_suffix(".json").write_bytes(bytes(text))
    try:
        open_predictor(config(), read_model(path))
    except ProjectError as error:
        assert "a.json" in str(error) or "a.mindir" in str(error)
    finally:
        path.with_suffix(".json").unlink()
