"""The Python examples of docs/deployment.md run, and print the detections that the family decodes from the outputs."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from src.command_line import load_config
from src.models import build_detector

PAGE = (Path(__file__).resolve().parents[1] / "docs/deployment.md").read_text(encoding="utf-8")
_, START, SSD, TWO_STAGE, CENTERNET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CLASSES = ("cat", "dog")
SSD_OUTPUTS = {"boxes": np.array([[0.1, 0.2, 0.5, 0.6], [0.11, 0.2, 0.5, 0.6], [0.5, 0.5, 0.9, 1.0]], np.float32),
               "scores": np.array([[0.1, 0.9, 0.1], [0.1, 0.7, 0.1], [0.2, 0.0, 0.8]], np.float32)}
TWO_STAGE_OUTPUTS = {"boxes": np.array([[10, 20, 69, 79, 0.9], [30, 10, 99, 49, 0.8], [0, 0, 5, 5, 0.7]], np.float32),
                     "labels": np.array([[0], [1], [0]], np.int32), "valid": np.array([[True], [True], [False]])}
CENTERNET_OUTPUTS = {"detections": np.array([[4, 10, 20, 24, 0.9, 0], [16, 12, 30, 20, 0.6, 1]], np.float32)}


def write_model(path: Path, inputs: dict, outputs: dict) -> None:
    """An ONNX file that returns `outputs` for one image whatever the inputs {name: shape} are."""
    tensors = [onnx.numpy_helper.from_array(value[None], name + "_value") for name, value in outputs.items()]
    nodes = [onnx.helper.make_node("Identity", [tensor.name], [name]) for tensor, name in zip(tensors, outputs)]
    graph = onnx.helper.make_graph(
        nodes, "constant",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [onnx.helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
         for tensor, name in zip(tensors, outputs)], initializer=tensors)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)


def printed_by(code: str, folder: Path) -> list:
    """The lines (class, score, x1, y1, x2, y2) that an example prints for folder / model.onnx and street.png."""
    code = (START + code).replace("runs/voc/export/ssd.onnx", "model.onnx").replace("street.jpg", "street.png")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"(\w+) ([\d.]+) at (-?\d+), (-?\d+) to (-?\d+), (-?\d+)", done.stdout)
    return [(name, *map(float, numbers)) for name, *numbers in rows]


@pytest.mark.parametrize("model, flags, outputs, code", [
    ("ssd300", ["--img_shape", "96,96", "--min_score", "0.3", "--nms_threshold", "0.5"], SSD_OUTPUTS, SSD),
    ("faster_rcnn_resnet50", ["--img_height", "96", "--img_width", "128"], TWO_STAGE_OUTPUTS, TWO_STAGE),
    ("centernet_resnet50", ["--input_res_test", "128,128"], CENTERNET_OUTPUTS, CENTERNET)])
def test_the_example_of_a_family_prints_its_detections(model, flags, outputs, code, tmp_path):
    detector = build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), image)
    write_model(tmp_path / "model.onnx", {"images": (1, 3, *detector.input_size)}, outputs)
    (tmp_path / "model.json").write_text(json.dumps({**detector.export_description(), "classes": CLASSES}),
                                         encoding="utf-8")

    lines = sorted(printed_by(code, tmp_path), key=lambda line: -line[1])

    wanted = detector.postprocess(list(outputs.values()), detector.geometry(80, 100))
    assert [line[0] for line in lines] == [CLASSES[label] for label in wanted.labels]
    np.testing.assert_allclose([line[1] for line in lines], wanted.scores, atol=0.006)
    np.testing.assert_allclose([line[2:] for line in lines], wanted.boxes, atol=1)
