"""Convolutions of exported files in 8 bits: what they compute, what it costs, and what is refused."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from src.command_line import load_config
from src.data.coco_json import load_coco
from src.data.shapes import draw_shapes
from src.errors import DatasetError, ExportError
from src.evaluation.predictor import onnx_runner
from src.evaluation.quantization import Loss, check_loss, quantize, quantize_export, spread
from src.ops.detections import Detections

SHAPE = (1, 3, 16, 16)


def convolution(path: Path) -> Path:
    """A convolution and a batch norm whose channels differ by a factor of 1000, in the opset of MindSpore's exports."""
    rng = np.random.default_rng(0)
    constants = {"weight": rng.normal(size=(4, 3, 3, 3)), "gamma": np.array([0.01, 0.1, 1, 10]), "beta": np.ones(4),
                 "mean": np.zeros(4), "variance": np.ones(4)}
    nodes = [helper.make_node("Conv", ["images", "weight"], ["maps"], kernel_shape=[3, 3]),
             helper.make_node("BatchNormalization", ["maps", "gamma", "beta", "mean", "variance"], ["scores"])]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, 4, 14, 14))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)
    return path


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(1).normal(size=(count, *SHAPE)).astype(np.float32))


def test_convolutions_compute_in_8_bits_and_keep_each_channel(tmp_path):
    model = convolution(tmp_path / "a.onnx")

    quantize(model, tmp_path / "a_int8.onnx", ({"images": image} for image in images(4)))

    weights = {tensor.data_type for tensor in onnx.load(tmp_path / "a_int8.onnx").graph.initializer
               if len(tensor.dims) == 4}
    assert weights == {TensorProto.INT8}
    exact, rounded = (onnx_runner(path).run(images(1)[0])[0] for path in (model, tmp_path / "a_int8.onnx"))
    assert np.abs(exact - rounded).max() > 0
    # The maps share one scale; one for all weights would also wipe out the weights of the small channels.
    assert (np.abs(exact - rounded).max((0, 2, 3)) < 0.02 * np.abs(exact).max()).all()


def test_what_onnxruntime_says_becomes_a_message(tmp_path):
    with pytest.raises(ExportError, match="cannot quantise a.onnx: .*export it without --int8"):
        quantize(convolution(tmp_path / "a.onnx"), tmp_path / "b.onnx", iter([]))


def test_a_loss_above_the_allowed_one_is_refused_and_the_message_says_how_to_insist():
    loss = Loss({"AP": 0.5, "mask_AP": 0.4}, {"AP": 0.49, "mask_AP": 0.366}, 100)
    with pytest.raises(ExportError, match="lowers AP by 0.0340, more than the 0.02 .* --int8_max_ap_loss 0.04"):
        check_loss(loss, 0.02)
    check_loss(loss, 0.04)
    check_loss(Loss({"AP": 0.5}, {"AP": 0.52}, 100), 0.0)
    with pytest.raises(ExportError):
        check_loss(Loss({"AP": 0.5}, {"AP": float("nan")}, 100), 0.02)


def test_calibration_images_are_spread_over_the_split():
    assert spread(list(range(100)), 5) == [0, 20, 40, 60, 80]
    assert spread(list(range(3)), 5) == [0, 1, 2] and spread([], 5) == []


class Knowing:
    """Finds every object where the network computes in float32, and none of them in int8: its outputs are others."""

    classes, input_names, with_masks = ("circle", "rectangle", "triangle"), ("images",), False

    def __init__(self, exact, records):
        self.exact, self.records = exact, list(records)

    def views(self, image, **_):
        return [(image[:16, :16].transpose(2, 0, 1).astype(np.float32), image)]

    def further_inputs(self, _geometry):
        return ()

    def postprocess_views(self, outputs, geometries):
        ((image,), record) = geometries, self.records.pop(0)
        right = np.array_equal(outputs[0][0], self.exact(self.views(image)[0][0][None])[0][0])
        return Detections(record.boxes + (0 if right else 1000), np.ones(len(record.labels), np.float32), record.labels)


def test_the_loss_is_measured_on_the_validation_split_and_refused_if_it_is_too_large(tmp_path, capsys):
    draw_shapes(tmp_path / "shapes", train=6, val=3, size=(160, 120))
    model, target = convolution(tmp_path / "a.onnx"), tmp_path / "a_int8.onnx"
    records = load_coco(tmp_path / "shapes/annotations/instances_val2017.json", tmp_path / "shapes/val2017").records
    detector = Knowing(onnx_runner(model).run, records)

    def export(loss: float) -> Loss:
        flags = ["--coco_root", str(tmp_path / "shapes"), "--int8_images", "4", "--int8_max_ap_loss", str(loss)]
        detector.records = list(records) * 2
        return quantize_export(load_config(["--model_name", "ssd300", *flags], "export"), detector, model, target,
                               tmp_path)

    with pytest.raises(ExportError, match="int8 lowers AP by 1.0000, more than the 0.02 .*--int8_max_ap_loss 1.00"):
        export(0.02)
    assert export(1.0) == Loss({"AP": pytest.approx(1)}, {"AP": 0.0}, 4)
    printed = capsys.readouterr().out
    assert "calibration: 4 of 6 images of" in printed and "AP: 1.0000 in float32, 0.0000 in int8" in printed


def test_a_split_without_annotations_measures_nothing(tmp_path):
    draw_shapes(tmp_path / "shapes", train=2, val=1, size=(160, 120))
    path = tmp_path / "shapes/annotations/instances_val2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    config = load_config(["--model_name", "ssd300", "--coco_root", str(tmp_path / "shapes")], "export")
    with pytest.raises(DatasetError, match="no image has an annotation, so what --int8 costs cannot be measured"):
        quantize_export(config, Knowing(None, ()), tmp_path / "a.onnx", tmp_path / "b.onnx", tmp_path)
