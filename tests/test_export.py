"""What is done to an ONNX file after MindSpore has written it, and what is written beside it."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from mindspore import nn
from onnx import TensorProto, helper

import export
from export import check_postprocess, export_graph, place_of, write_description
from src.command_line import load_config
from src.errors import ExportError, UsageError
from src.evaluation.model_file import read_model
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictor import mindir_runner, onnx_runner
from src.export import comparison
from src.export.comparison import TOLERANCE, ranked_difference
from src.export.onnx_graph import stack_plainly
from src.models import build_detector
from src.ops.detections import Detections

# x, score
RANKED = [[1, 0.9], [2, 0.5], [3, 0.5], [4, 0.2]]


def difference(wanted, found) -> float:
    return ranked_difference([np.array([wanted], np.float32)], [np.array([found], np.float32)], score_column=1)


def test_rows_of_equal_scores_may_change_places():
    assert difference(RANKED, [[1, 0.9], [3, 0.5 + 1e-6], [2, 0.5], [4, 0.2]]) < TOLERANCE


def test_the_last_row_may_be_another_of_its_score():
    assert difference(RANKED, [[1, 0.9], [2, 0.5], [3, 0.5], [7, 0.2]]) < TOLERANCE


@pytest.mark.parametrize("found", [
    [[1, 0.9], [2, 0.5], [3.1, 0.5], [4, 0.2]],   # another box
    [[1, 0.8], [2, 0.5], [3, 0.5], [4, 0.2]],     # another score
    [[1, 0.9], [2, 0.5], [2, 0.5], [4, 0.2]],     # one is missing, another there twice
])
def test_other_rows_are_a_difference(found):
    assert difference(RANKED, found) > TOLERANCE


def test_one_of_many_rows_may_be_another_box_but_not_a_third_of_them():
    many = [[place, 1 - place / 100] for place in range(30)]
    one_moved = [[99, 1 - place / 100] if place == 7 else row for place, row in enumerate(many)]
    ten_moved = [[99, 1 - place / 100] if place < 10 else row for place, row in enumerate(many)]

    assert difference(many, one_moved) < TOLERANCE < difference(many, ten_moved)


def test_where_nothing_is_found_both_have_to_say_so():
    nothing = [[1, 0], [2, 0]]

    assert difference(nothing, nothing) == 0
    assert difference(nothing, [[1, 0.3], [2, 0]]) == pytest.approx(0.3)


@pytest.mark.parametrize("settings, shape", [
    ({"axis": 1, "new_axis": 1}, (2, 2, 3)), ({"axis": 0, "new_axis": 1}, (2, 2, 3)), ({"axis": 1}, (2, 6))])
def test_sequences_become_plain_operators(settings, shape):
    # given a stack of a tensor and its negative, as MindSpore exports it
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("SequenceConstruct", ["x", "minus"], ["both"]),
             helper.make_node("ConcatFromSequence", ["both"], ["y"], **settings)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (2, 3))],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    wanted = outputs(model, x)

    # when its sequences are replaced
    stack_plainly(model)

    # then it computes the same without them
    assert not {node.op_type for node in model.graph.node} & {"SequenceConstruct", "ConcatFromSequence"}
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(outputs(model, x), wanted)
    assert wanted.shape == shape


def outputs(model, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y


@pytest.mark.parametrize("flags, words", [
    (["--file_format", "MINDIR"], "needs --file_format ONNX, not MINDIR"),
    (["--file_format", "ONNX", "--export_batch_size", "4"], "leave --export_batch_size 4 out")])
def test_post_processing_is_refused_where_it_cannot_be_had(flags, words):
    settings = load_config(["--model_name", "ssd300", "--with_postprocess", "True", *flags], "export").export
    with pytest.raises(UsageError, match=words):
        check_postprocess(settings)


def test_detections_that_differ_leave_no_file(monkeypatch):
    wanted = Detections(np.array([[1, 2, 30, 40], [5, 6, 9, 9]], np.float32), np.array([0.9, 0.5], np.float32),
                        np.array([1, 0], np.int32))
    rows = np.array([[[1, 2, 30, 40, 0.9, 1], [5, 6, 9, 9, 0.5, 0], [0, 0, 0, 0, 0, -1]]], np.float32)
    detector = PostprocessedDetector(build_detector(load_config(["--model_name", "ssd300"], "export"), ("cat", "dog")))
    monkeypatch.setattr(comparison, "onnx_runner", lambda *_, **__: SimpleNamespace(run=lambda: [rows]))
    assert comparison.check_detections(Path("a.onnx"), [], wanted, detector, (50, 60))[1] == 0
    rows[0, 0, 5] = 0       # the other class
    with pytest.raises(ExportError, match="a.onnx: the detections differ from those that are decoded"):
        comparison.check_detections(Path("a.onnx"), [], wanted, detector, (50, 60))


# Names

@pytest.mark.parametrize("given, folder, name", [
    ("cells", "run/export", "cells"), ("cells.v2", "run/export", "cells.v2"), ("ssd_0.5", "run/export", "ssd_0.5"),
    ("2026.11.28", "run/export", "2026.11.28"), ("out/cells.v2", "out", "cells.v2"), ("./cells", "run/export", "cells"),
    ("cells.onnx", "run/export", "cells"), ("out/cells.v2.ONNX", "out", "cells.v2"), ("src", "run/export", "src")])
def test_a_name_keeps_its_dots_and_loses_the_ending_of_its_format(given, folder, name):
    settings = load_config(["--model_name", "ssd300", "--file_format", "ONNX", "--file_name", given], "export").export
    assert place_of(settings, Path("run/export")) == (Path(folder), name)


@pytest.mark.parametrize("given, words", [
    ("cells.mindir", "ends in .mindir, and the format is ONNX; leave the ending out, or add --file_format MINDIR"),
    (".", "give the name of a file"), ("", "give the name of a file"), ("out/", "give the name of a file"),
    ("../.", "give the name of a file"), ("tests/golden", "give the name of a file")])
def test_what_is_no_name_or_of_another_format_is_wrong_use(given, words, monkeypatch):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    settings = load_config(["--model_name", "ssd300", "--file_format", "ONNX", f"--file_name={given}"], "export").export
    with pytest.raises(UsageError, match=words):
        place_of(settings, Path("run/export"))


def describe(folder: Path, name: str, classes=("circle", "square"), file_format: str = "ONNX", *flags: str) -> Path:
    """The description of a model that was exported under this name; returns the place of the model."""
    config = load_config(["--model_name", "ssd300", "--file_format", file_format, *flags], "export")
    written = folder / f"{name}.{file_format.lower()}"
    written.touch()
    write_description(written, folder, config, build_detector(config, classes), {}, Path("a.ckpt"), 0.0)
    return written


def test_each_name_has_a_description_of_its_own_which_the_commands_read(tmp_path):
    first, second = describe(tmp_path, "cells"), describe(tmp_path, "cells.v2", ("square", "circle"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".json", ".yaml")) == [
        "cells.json", "cells.v2.json", "cells.v2.yaml", "cells.yaml"]
    assert read_model(first).classes == ("circle", "square") and read_model(second).classes == ("square", "circle")


def test_the_description_holds_the_settings_of_the_model(tmp_path):
    model = describe(tmp_path, "cells", ("circle",), "ONNX", "--img_shape", "160,160", "--min_scale", "0.35")
    description = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
    assert (description["settings"]["img_shape"], description["settings"]["min_scale"]) == ([160, 160], 0.35)


def test_a_description_of_another_model_is_not_replaced_without_a_word(tmp_path, capsys):
    describe(tmp_path, "cells")
    assert "replaces" not in capsys.readouterr().out
    describe(tmp_path, "cells")     # the same model once more
    assert "replaces" not in capsys.readouterr().out
    describe(tmp_path, "cells", ("square", "circle"))
    assert "cells.onnx replaces the export of another model: classes differ" in capsys.readouterr().out
    with pytest.raises(ExportError, match="cells.json describes another model, exported as ONNX: settings differ"):
        describe(tmp_path, "cells", ("square", "circle"), "MINDIR", "--min_scale", "0.3")


@pytest.mark.parametrize("file_format", ["ONNX", "MINDIR"])
def test_a_graph_is_exported_into_a_folder_of_any_name(tmp_path, file_format):
    """MindSpore itself refuses every one of these characters."""
    folder = tmp_path / "мой (project)+,=~#"
    folder.mkdir()
    inputs = [np.ones((1, 3), np.float32)]

    path = export_graph(nn.ReLU(), inputs, folder, "tiny.v2 +1", file_format)

    assert path == folder / f"tiny.v2 +1.{file_format.lower()}" and list(folder.iterdir()) == [path]
    run = onnx_runner(path).run if file_format == "ONNX" else mindir_runner(path)
    np.testing.assert_array_equal(run(*inputs)[0], inputs[0])
    assert Path.cwd() != folder


@dataclass
class Outputs:
    """A detector of two outputs that are compared number by number."""

    output_names: tuple = ("boxes", "scores")
    ranked_by: None = None


def compared(monkeypatch, found: list) -> float:
    """What check_equal says of a file that gives `found` where the network gives 0 and 1."""
    wanted = [np.zeros((1, 1000, 4), np.float32), np.ones((1, 1000), np.float32)]
    monkeypatch.setattr(comparison, "onnx_runner", lambda _: SimpleNamespace(run=lambda: found))
    return comparison.check_equal(Path("a.onnx"), [], wanted, Outputs())


def test_every_number_of_an_exported_file_has_to_be_the_networks(monkeypatch):
    boxes, scores = np.zeros((1, 1000, 4), np.float32), np.ones((1, 1000), np.float32)
    assert compared(monkeypatch, [boxes, scores]) == 0
    for number in (0.001, np.nan, np.inf):      # a mean over 4,000 numbers would hide the first
        boxes[0, 7, 2] = number
        with pytest.raises(ExportError, match="output boxes differs from the network's by"):
            compared(monkeypatch, [boxes, scores])


def test_outputs_of_another_shape_are_not_compared_by_broadcasting(monkeypatch):
    with pytest.raises(ExportError, match="output scores has the shape"):
        compared(monkeypatch, [np.zeros((1, 1000, 4), np.float32), np.ones((1, 1), np.float32)])


@pytest.mark.parametrize("chip, allowed", [("", TOLERANCE), ("Ascend910B2", TOLERANCE), ("Ascend910A", 0.01)])
def test_what_may_differ_depends_on_the_chip_and_is_said(chip, allowed, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "chip_name", lambda: chip)
    assert comparison.tolerance() == allowed
    assert ("0.01, elsewhere by 0.0001" in capsys.readouterr().out) is (allowed > TOLERANCE)


def test_an_onnx_file_is_compared_on_the_cpu_also_where_ascend_is_asked_for(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(export, "set_device", lambda runtime: seen.append(runtime.device_target))
    monkeypatch.setattr(export, "export", lambda config, *_: seen.append(config.runtime.device_target))
    (tmp_path / "a.ckpt").write_bytes(b"")
    for file_format in ("ONNX", "MINDIR"):
        flags = ["--model_name=ssd300", f"--model_path={tmp_path}/a.ckpt", f"--result_path={tmp_path}",
                 "--device_target=Ascend"]
        export.export_model(load_config([*flags, f"--file_format={file_format}"], "export"))
    assert seen == ["CPU", "CPU", "Ascend", "Ascend"]
    assert "on this host's CPU" in capsys.readouterr().out
