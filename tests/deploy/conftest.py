"""An exported SSD that finds the same two objects in every image, with the files that export.py writes beside it."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import list_tensors, write_description
from src.command_line import load_config
from src.models import build_detector

FLAGS = ["--model_name", "ssd300", "--file_format", "ONNX", "--img_shape", "96,96", "--min_score", "0.3"]
# y1, x1, y2, x2 in fractions of the image; scores of background, cat, dog.
OUTPUTS = {"boxes": np.array([[[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 0.9, 1.0]]], np.float32),
           "scores": np.array([[[0.1, 0.9, 0.1], [0.2, 0.0, 0.8]]], np.float32)}


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    path = folder / "ssd.onnx"
    images = np.zeros((1, 3, 96, 96), np.float32)
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"{name}_value"], [name]) for name in OUTPUTS], "constant",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, images.shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape) for name, value in OUTPUTS.items()],
        [numpy_helper.from_array(value, f"{name}_value") for name, value in OUTPUTS.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    config = load_config(FLAGS, "export")
    tensors = {"inputs": list_tensors(["images"], [images]), "outputs": list_tensors(OUTPUTS, OUTPUTS.values())}
    write_description(path, folder, config, build_detector(config, ("cat", "dog")), tensors, Path("a.ckpt"), 0.0)
    return path
