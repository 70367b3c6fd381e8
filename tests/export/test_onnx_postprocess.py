"""An ONNX file with_postprocess returns the detections that the family decodes from the outputs of its network, which
is a stand-in here: it returns the same outputs for every image. The engines are onnxruntime and OpenVINO."""
from __future__ import annotations

import numpy as np
import pytest
from constant_networks import CLASSES, centernet_outputs, save, ssd_outputs, two_stage_outputs, write_network
from onnx import TensorProto, helper

from src.command_line import load_config
from src.errors import ConfigError
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictor import onnx_runner, openvino_runner
from src.export.onnx_postprocess import add_postprocess
from src.models import build_detector
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxTensor

IMAGE = (70, 100)       # height, width
SMALL = ["--img_height", "96", "--img_width", "128"]
PIXELS, SCORES = 2e-3, 1e-6     # largest difference: boxes are computed in float32 here, in float64 by numpy


def detector_of(model: str, *flags: str):
    return build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)


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


@pytest.mark.parametrize("open_model", [onnx_runner, openvino_runner])
@pytest.mark.parametrize("model, flags, make_outputs", CASES, ids=[" ".join([case[0], *case[1]]) for case in CASES])
def test_detections_are_those_of_the_family(model, flags, make_outputs, open_model, tmp_path):
    # given the outputs of a network
    inner = detector_of(model, *flags)
    outputs = make_outputs(inner)
    write_network(tmp_path / "a.onnx", inner, outputs)
    wanted = inner.postprocess(outputs, inner.geometry(*IMAGE))

    # when the file has got its post-processing
    detector = PostprocessedDetector(inner)
    add_postprocess(tmp_path / "a.onnx", detector)
    run, _ = open_model(tmp_path / "a.onnx", image_type=detector.image_type)
    array, geometry = detector.preprocess(np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8))
    found = run(*(np.asarray(value)[None] for value in (array, *detector.further_inputs(geometry))))

    # then its outputs have their fixed shape, and hold the same detections
    (rows,), limit = found[0], getattr(inner.config.eval, "max_per_image", len(outputs[0]))
    assert rows.shape == (limit, 6)
    np.testing.assert_array_equal(rows[len(wanted):], np.tile([0, 0, 0, 0, 0, -1], (limit - len(wanted), 1)))
    assert_equal(detector.postprocess([output[0] for output in found], geometry), wanted)
    assert len(wanted) or flags[-2:] == ["--min_score", "1"]


@pytest.mark.parametrize("open_model", [onnx_runner, openvino_runner])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("model, flags, make_outputs", [CASES[0], CASES[5], CASES[7]],
                         ids=["ssd", "centernet", "faster_rcnn"])
def test_outputs_that_are_not_finite_stay_so(model, flags, make_outputs, wrong, open_model, tmp_path):
    """Predictor and the C++ application refuse them; decoding would find fewer detections."""
    inner = detector_of(model, *flags)
    outputs = make_outputs(inner)
    outputs[0][3, 1] = wrong
    write_network(tmp_path / "a.onnx", inner, outputs)
    detector = PostprocessedDetector(inner)
    add_postprocess(tmp_path / "a.onnx", detector)
    array, geometry = detector.preprocess(np.zeros((*IMAGE, 3), np.uint8))
    found = open_model(tmp_path / "a.onnx", image_type=detector.image_type).run(
        *(np.asarray(value)[None] for value in (array, *detector.further_inputs(geometry))))
    assert np.isnan(found[0]).all()


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
