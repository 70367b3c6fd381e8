"""An ONNX file with_postprocess returns the detections that the family decodes from the outputs of its network, which
is a stand-in here: it returns the same outputs for every image. The engines are onnxruntime and OpenVINO."""
from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.command_line import load_config
from src.errors import ConfigError
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictor import onnx_runner
from src.export.onnx_postprocess import add_postprocess
from src.models import build_detector
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxTensor

CLASSES = ("cat", "dog", "bird")
IMAGE = (70, 100)       # height, width
SMALL = ["--img_height", "96", "--img_width", "128"]
PIXELS, SCORES = 2e-3, 1e-6     # largest difference: boxes are computed in float32 here, in float64 by numpy


def write_network(path: Path, detector, outputs: list) -> None:
    """An ONNX file with the inputs and outputs of a detector's network."""
    nodes, constants, shapes = [], [], {"images": (1, 3, *detector.input_size), "image_sizes": (1, 2)}
    for name, value in zip(detector.output_names, outputs):
        constants.append(numpy_helper.from_array(value[None], name + "_value"))
        nodes.append(helper.make_node("Identity", [name + "_value"], [name]))
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in detector.input_names],
        [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), (1, *value.shape))
         for name, value in zip(detector.output_names, outputs)], initializer=constants)
    save(graph, path)


def save(graph, path: Path) -> None:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6), path)


def openvino_runner(path: Path) -> Callable:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda *inputs: list(model(list(inputs)).values())


def detector_of(model: str, *flags: str):
    return build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)


def ssd_outputs(_detector) -> list:
    """Boxes in clusters, so that many are suppressed; scores of background and classes."""
    rng = np.random.default_rng(1)
    centers = np.repeat(rng.uniform(0.2, 0.8, (40, 2)), 10, axis=0) + rng.normal(0, 0.02, (400, 2))
    sides = rng.uniform(0.05, 0.4, (400, 2))
    boxes = np.clip(np.concatenate([centers - sides / 2, centers + sides / 2], axis=1), 0, 1)
    return [boxes.astype(np.float32), rng.random((400, 1 + len(CLASSES)), np.float32)]


def two_stage_outputs(detector) -> list:
    """30 boxes in all of the canvas, some beside the image; every fifth row is padding."""
    rng = np.random.default_rng(2)
    height, width = detector.input_size
    first = rng.uniform(0, 0.9, (30, 2)) * [width, height]
    last = np.minimum(first + rng.uniform(2, 60, (30, 2)), [width - 1, height - 1])
    scores = np.sort(rng.random(30))[::-1]
    boxes = np.column_stack([first, last, scores]).astype(np.float32)
    valid = (np.arange(30) % 5 != 4)[:, None]
    labels = rng.integers(0, len(CLASSES), (30, 1), dtype=np.int32)
    masks = [rng.random((30, 28, 28), np.float32)] if detector.with_masks else []
    return [boxes, labels, valid, *masks]


def centernet_outputs(_detector) -> list:
    """100 peaks of which many overlap, some of them below the least score of soft-NMS, the last ten are none."""
    rng = np.random.default_rng(3)
    centers = np.repeat(rng.uniform(4, 28, (20, 2)), 5, axis=0) + rng.normal(0, 0.5, (100, 2))
    sides = rng.uniform(2, 12, (100, 2))
    scores = np.sort(np.concatenate([rng.uniform(0.01, 1, 80), rng.uniform(0, 0.002, 10), np.zeros(10)]))[::-1]
    labels = rng.integers(0, len(CLASSES), 100)
    return [np.column_stack([centers - sides / 2, centers + sides / 2, scores, labels]).astype(np.float32)]


STYLES = ("zoo", "torchvision", "mmdet", "detectron2")
CASES = [
    ("ssd300", ["--img_shape", "96,96", "--max_per_image", "40"], ssd_outputs),
    ("ssd300", ["--img_shape", "96,96", "--min_score", "0.9", "--nms_threshold", "0.3"], ssd_outputs),
    ("ssd300", ["--img_shape", "96,96", "--nms_candidates", "30", "--max_boxes", "7"], ssd_outputs),
    ("ssd300", ["--img_shape", "96,96", "--min_score", "1"], ssd_outputs),     # finds nothing
    ("ssd_vgg16", ["--ssd_style", "torchvision"], ssd_outputs),
    ("centernet_resnet50", ["--input_res_test", "128,192"], centernet_outputs),
    ("centernet_resnet50", ["--input_res_test", "128,128", "--soft_nms", "False"], centernet_outputs),
    ("faster_rcnn_resnet50", SMALL, two_stage_outputs),
    ("faster_rcnn_resnet50", [*SMALL, "--keep_ratio", "False"], two_stage_outputs),
    ("faster_rcnn_resnet50", [*SMALL, "--resize_sides", "60,90"], two_stage_outputs),
    *(("mask_rcnn_resnet50", [*SMALL, "--box_style", style], two_stage_outputs)
      for style in STYLES)]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model, flags, make_outputs", CASES, ids=[" ".join([case[0], *case[1]]) for case in CASES])
def test_detections_are_those_of_the_family(model, flags, make_outputs, engine, tmp_path):
    # given the outputs of a network
    inner = detector_of(model, *flags)
    outputs = make_outputs(inner)
    write_network(tmp_path / "a.onnx", inner, outputs)
    wanted = inner.postprocess(outputs, inner.geometry(*IMAGE))

    # when the file has got its post-processing
    detector = PostprocessedDetector(inner)
    add_postprocess(tmp_path / "a.onnx", detector)
    run = (onnx_runner(tmp_path / "a.onnx", image_type=detector.image_type).run if engine == "onnxruntime"
           else openvino_runner(tmp_path / "a.onnx"))
    array, geometry = detector.preprocess(np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8))
    found = run(*(np.asarray(value)[None] for value in (array, *detector.further_inputs(geometry))))

    # then its outputs have their fixed shape, and hold the same detections
    (rows,), limit = found[0], getattr(inner.config.eval, "max_per_image", len(outputs[0]))
    assert rows.shape == (limit, 6)
    np.testing.assert_array_equal(rows[len(wanted):], np.tile([0, 0, 0, 0, 0, -1], (limit - len(wanted), 1)))
    assert_equal(detector.postprocess([output[0] for output in found], geometry), wanted)
    assert len(wanted) or flags[-2:] == ["--min_score", "1"]


def assert_equal(found: Detections, wanted: Detections) -> None:
    assert len(found) == len(wanted)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    np.testing.assert_allclose(found.scores, wanted.scores, atol=SCORES)
    np.testing.assert_allclose(found.boxes, wanted.boxes, atol=PIXELS)
    assert found.masks == wanted.masks


@pytest.mark.parametrize("model, flags", [
    ("ssd300", ["--img_shape", "96,128", "--mean", "0.1,0.2,0.3"]), ("ssd_vgg16", ["--ssd_style", "torchvision"]),
    ("centernet_resnet50", ["--input_res_test", "96,128"]),
    *(("faster_rcnn_resnet50", [*SMALL, "--box_style", style]) for style in STYLES)])
def test_the_network_gets_the_bits_of_eval_py(model, flags, tmp_path):
    """Its output is its input here, after a pooling that changes nothing."""
    inner = detector_of(model, *flags)
    detector = PostprocessedDetector(inner)
    inner.add_decoding = lambda nodes, outputs, *_: [OnnxTensor(nodes.add("Squeeze", outputs[0].name, axes=[0]),
                                                                outputs[0].shape[1:])]
    shape = (1, 3, *inner.input_size)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
              for name, size in zip(inner.input_names, (shape, (1, 2)))]
    nodes = [helper.make_node("MaxPool", ["images"], ["same"], kernel_shape=[1, 1])]
    save(helper.make_graph(nodes, "network", inputs,
                           [helper.make_tensor_value_info("same", TensorProto.FLOAT, shape)]), tmp_path / "a.onnx")
    image = np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8)

    add_postprocess(tmp_path / "a.onnx", detector)
    array, geometry = detector.preprocess(image)
    assert array.dtype == detector.image_type and array.shape == (*inner.input_size, 3)
    (found,) = onnx_runner(tmp_path / "a.onnx", image_type=detector.image_type).run(
        *(np.asarray(value)[None] for value in (array, *detector.further_inputs(geometry))))

    np.testing.assert_array_equal(found[0], inner.preprocess(image)[0])


@pytest.mark.parametrize("model, flags, words", [
    ("ssd300", ["--max_per_image", "none"], "needs a fixed number of rows; give --max_per_image"),
    ("centernet_resnet50", ["--multi_scales", "0.5,1"], r"multi_scales is \[0.5, 1.0\]; give --multi_scales 1")])
def test_settings_that_the_file_cannot_have_are_refused(model, flags, words):
    with pytest.raises(ConfigError, match=words):
        PostprocessedDetector(detector_of(model, *flags))
