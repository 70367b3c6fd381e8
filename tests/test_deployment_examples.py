"""The Python examples of docs/deployment.md run, and print the detections that the family decodes from the outputs."""
from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from constant_networks import write_network
from pycocotools import mask as coco_mask

from src.command_line import load_config
from src.evaluation.postprocessed import PostprocessedDetector
from src.export.onnx_postprocess import add_postprocess
from src.models import build_detector

PAGE = (Path(__file__).resolve().parents[1] / "docs/deployment.md").read_text(encoding="utf-8")
_, WHOLE, SSD, FASTER_RCNN, MASK_RCNN, CENTERNET = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CLASSES = ("cat", "dog")
SSD_OUTPUTS = [np.array([[0.1, 0.2, 0.5, 0.6], [0.11, 0.2, 0.5, 0.6], [0.5, 0.5, 0.9, 1.0]], np.float32),
               np.array([[0.1, 0.9, 0.1], [0.1, 0.7, 0.1], [0.2, 0.0, 0.8]], np.float32)]
# Two detections, one in the black part of the input, and a row of padding.
TWO_STAGE_OUTPUTS = [np.array([[10, 20, 69, 79, 0.9], [30, 10, 99, 49, 0.8], [124, 10, 127, 90, 0.7],
                               [0, 0, 5, 5, 0.6]], np.float32),
                     np.array([[0], [1], [0], [0]], np.int32), np.array([[True], [True], [True], [False]])]
MASK_RCNN_OUTPUTS = [*TWO_STAGE_OUTPUTS, np.random.default_rng(0).random((4, 28, 28), np.float32)]
CENTERNET_OUTPUTS = [np.array([[4, 10, 20, 24, 0.9, 0], [16, 12, 30, 20, 0.6, 1]], np.float32)]
SMALL_INPUT = ["--img_height", "96", "--img_width", "128"]
MODELS = {"ssd300": (["--img_shape", "96,96", "--min_score", "0.3", "--nms_threshold", "0.5"], SSD_OUTPUTS),
          "faster_rcnn_resnet50": (SMALL_INPUT, TWO_STAGE_OUTPUTS),
          "mask_rcnn_resnet50": (SMALL_INPUT, MASK_RCNN_OUTPUTS),
          "centernet_resnet50": (["--input_res_test", "128,128"], CENTERNET_OUTPUTS)}


def printed_by(code: str, folder: Path) -> list:
    """The lines (class, score, x1, y1, x2, y2), and the pixels of the mask behind them, that an example prints for
    folder / model.onnx and street.png."""
    code = code.replace("runs/voc/export/ssd.onnx", "model.onnx").replace("street.jpg", "street.png")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"(\w+) ([\d.]+) at (-?\d+), (-?\d+) to (-?\d+), (-?\d+)(?:: (\d+) pixels)?", done.stdout)
    return [(name, *(float(number) for number in numbers if number)) for name, *numbers in rows]


@pytest.mark.parametrize("model, code, with_postprocess", [
    ("ssd300", SSD, False), ("faster_rcnn_resnet50", FASTER_RCNN, False), ("mask_rcnn_resnet50", MASK_RCNN, False),
    ("centernet_resnet50", CENTERNET, False), *((model, WHOLE, True) for model in MODELS)])
def test_the_example_of_a_family_prints_its_detections(model, code, with_postprocess, tmp_path):
    flags, outputs = MODELS[model]
    detector = build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)
    image = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "street.png"), image)
    write_network(tmp_path / "model.onnx", detector, outputs)
    described = PostprocessedDetector(detector) if with_postprocess else detector
    if with_postprocess:
        add_postprocess(tmp_path / "model.onnx", described)
    (tmp_path / "model.json").write_text(json.dumps({**described.export_description(), "classes": CLASSES}),
                                         encoding="utf-8")

    lines = sorted(printed_by(code, tmp_path), key=lambda line: -line[1])

    wanted = detector.postprocess(outputs, detector.geometry(80, 100))
    assert [line[0] for line in lines] == [CLASSES[label] for label in wanted.labels]
    np.testing.assert_allclose([line[1] for line in lines], wanted.scores, atol=0.006)
    np.testing.assert_allclose([line[2:6] for line in lines], wanted.boxes, atol=0.51)
    if code is MASK_RCNN:
        assert [line[6] for line in lines] == coco_mask.area(wanted.masks).tolist()


def test_examples_fit_on_a_screen():
    assert all(len(code.splitlines()) <= 25 for code in (WHOLE, SSD, FASTER_RCNN, MASK_RCNN, CENTERNET))
