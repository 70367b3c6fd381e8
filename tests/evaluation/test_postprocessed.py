"""eval.py and predict.py know a model with_postprocess by its description file, and give the detections of its rows."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.command_line import load_config
from src.errors import CheckpointError, ConfigError
from src.evaluation.model_file import ModelFile, open_predictor, read_model
from src.evaluation.postprocessed import PostprocessedDetector
from src.models import build_detector

ROWS = np.array([[1, 2, 30, 40, 0.9, 1], [5, 6, 7, 8, 0.4, 0], [0, 0, 0, 0, 0, -1]], np.float32)


def written(folder: Path, *flags: str) -> Path:
    """A model of SSD that finds ROWS in every image, with its description file."""
    path = folder / "a.onnx"
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, (1, 96, 128, 3)),
              helper.make_tensor_value_info("original_size", TensorProto.FLOAT, (1, 2))]
    graph = helper.make_graph([helper.make_node("Identity", ["rows"], ["detections"])], "g", inputs,
                              [helper.make_tensor_value_info("detections", TensorProto.FLOAT, (1, 3, 6))],
                              [numpy_helper.from_array(ROWS[None], "rows")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)
    config = load_config(["--model_name", "ssd300", "--img_shape", "96,128", *flags], "export")
    detector = PostprocessedDetector(build_detector(config, ("cat", "dog")))
    path.with_suffix(".json").write_text(json.dumps({
        "model_name": "ssd300", "classes": ["cat", "dog"], "batch_size": 1, **detector.export_description(),
        "inputs": [{"name": name} for name in detector.input_names],
        "settings": detector.conditions(), "built_in": detector.built_in()}), encoding="utf-8")
    return path


def opened(path: Path, *flags: str):
    return open_predictor(load_config([f"--model_path={path}", *flags], "predict"), read_model(path))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_its_rows_become_the_detections(tmp_path, engine):
    path = written(tmp_path)
    (found,) = opened(path, "--engine", engine)([np.zeros((50, 60, 3), np.uint8)])
    np.testing.assert_array_equal(found.boxes, ROWS[:2, :4])
    np.testing.assert_array_equal(found.scores, ROWS[:2, 4])
    np.testing.assert_array_equal(found.labels, [1, 0])


def test_a_threshold_that_is_built_in_cannot_be_changed(tmp_path):
    path = written(tmp_path, "--min_score", "0.2")
    assert opened(path).detector.config.eval.min_score == 0.2
    with pytest.raises(ConfigError, match="min_score: 0.2, flag --min_score has 0.05"):
        opened(path, "--min_score", "0.05")


def test_without_its_description_file_it_is_not_taken_for_a_network(tmp_path):
    config = load_config(["--model_name", "ssd300", "--img_shape", "96,128"], "predict")
    path = written(tmp_path)
    with pytest.raises(CheckpointError, match="a.onnx takes uint8 images, and is given float32 here; its description "
                                              "file a.json, .* is missing"):
        open_predictor(config, ModelFile(path), ("cat", "dog"))
