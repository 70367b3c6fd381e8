"""Checkpoints of the old zoo -> ours: every parameter of the golden lists, and what is said when one does not fit."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden import Golden

from src.checkpoint import Weights
from src.command_line import load_config
from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.convert import choose_naming, convert
from src.conversion.naming import zoo_namings
from src.errors import CheckpointError
from src.models import build_detector

NO_BODY = ("--feature_extractor_base_param", "none")
LATER_ZOO = (*NO_BODY, "--without_bg_loss", "true")

# (golden list of parameters, model, settings)
WHOLE_DETECTORS = [
    *((name, name, NO_BODY) for name in ("ssd300", "ssd_mobilenet_v1", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn",
                                         "ssd_vgg16")),
    *((name, name, (*NO_BODY, "--up_sampling", "plain")) for name in ("centernet_resnet50", "centernet_resnet101")),
    ("faster_rcnn_r50", "faster_rcnn_resnet50", NO_BODY),
    *((name, name, NO_BODY) for name in ("faster_rcnn_res2net50", "faster_rcnn_res2net101", "faster_rcnn_res2net152")),
    ("faster_rcnn_master_r50", "faster_rcnn_resnet50", LATER_ZOO),
    ("faster_rcnn_master_r101", "faster_rcnn_resnet101", LATER_ZOO),
    ("faster_rcnn_master_r152", "faster_rcnn_resnet152", LATER_ZOO),
    ("maskrcnn_r50", "mask_rcnn_resnet50", NO_BODY),
]


def model(name: str, *flags: str) -> tuple:
    """(its detector, shapes of its network's parameters)"""
    detector = build_detector(load_config(["--model_name", name, *flags], "convert"), COCO_CLASSES)
    return detector, {parameter.name: tuple(parameter.shape) for parameter in detector.network().get_parameters()}


def converted(arrays: dict, detector, shapes: dict, source=None):
    weights = Weights(arrays, Path("zoo.ckpt"))
    return convert(weights, choose_naming(weights, zoo_namings(detector), shapes, source), shapes,
                   len(detector.classes))


def numbered(golden: Golden) -> dict:
    """The parameters of a golden list, each filled with its place in the list."""
    return {key: np.broadcast_to(np.float32(place), shape) for place, (key, shape, _) in enumerate(golden.parameters())}


# The deep ones are nightly: that all their layers have names is tested with the table of backbones.
@pytest.mark.parametrize("golden, name, flags", [
    pytest.param(*case, id=case[0], marks=pytest.mark.nightly if case[0].endswith(("101", "152")) else ())
    for case in WHOLE_DETECTORS])
def test_every_parameter_of_a_golden_list_is_taken(golden, name, flags):
    detector, shapes = model(name, *flags)
    arrays = numbered(Golden(golden))
    state = {"moments." + key: array for key, array in list(arrays.items())[:3]}
    conversion = converted({**arrays, **state, "learning_rate": np.zeros(5)}, detector, shapes)
    assert set(conversion.arrays) == set(shapes) and not conversion.missing
    assert sorted(conversion.taken.values()) == sorted(arrays)
    assert set(conversion.ignored) == {*state, "learning_rate"}
    for key, array in arrays.items():
        assert (conversion.arrays[detector.from_zoo(key)] == array.flat[0]).all(), key


@pytest.fixture(scope="module")
def mobilenet_v1():
    return (*model("ssd_mobilenet_v1"), numbered(Golden("ssd_mobilenet_v1")))


KEY = "network.multi_residual.0.features.0.weight"


@pytest.mark.parametrize("change, words", [
    ({KEY: None}, r"missing in the file: extras.0.conv.weight \(512, 1024, 3, 3\)"),
    ({"network.more": np.zeros(3)}, r"unknown to the network: network.more \(3,\)"),
    ({KEY: np.zeros((512, 1024, 1, 1))},
     rf"{KEY}: file \(512, 1024, 1, 1\), extras.0.conv.weight of the network \(512, 1024, 3, 3\)"),
])
def test_what_does_not_fit_is_named_from_both_sides(mobilenet_v1, change, words):
    detector, shapes, arrays = mobilenet_v1
    changed = {key: array for key, array in {**arrays, **change}.items() if array is not None}
    with pytest.raises(CheckpointError, match="zoo.ckpt does not fit the network(.|\n)*" + words):
        converted(changed, detector, shapes)


@pytest.mark.parametrize("name, golden", [("ssd_mobilenet_v1", "ssd_mobilenet_v1"),
                                          ("centernet_resnet50", "centernet_resnet50"),
                                          ("faster_rcnn_resnet50", "faster_rcnn_r50")])
def test_when_only_the_number_of_classes_differs_both_are_said_and_each_parameter_once(name, golden):
    detector = build_detector(load_config(["--model_name", name, *NO_BODY] + ["--up_sampling", "plain"] * (
        name == "centernet_resnet50"), "convert"), ["a", "b", "c"])
    shapes = {parameter.name: tuple(parameter.shape) for parameter in detector.network().get_parameters()}
    with pytest.raises(CheckpointError, match="The file has 80 classes, the network 3: .* with --classes") as error:
        converted(numbered(Golden(golden)), detector, shapes)
    assert "missing" not in str(error.value)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(mobilenet_v1, number):
    detector, shapes, arrays = mobilenet_v1
    spoilt = arrays[KEY].copy()
    spoilt[0, 0, 0, 1:] = number
    with pytest.raises(CheckpointError, match=rf"zoo.ckpt: 2 of the 4718592 numbers of {KEY} are not finite"):
        converted({**arrays, KEY: spoilt}, detector, shapes)
    converted({**arrays, "moments." + KEY: spoilt}, detector, shapes)


def test_a_file_of_another_kind_is_told_apart(mobilenet_v1):
    detector, shapes, _ = mobilenet_v1
    with pytest.raises(CheckpointError, match=r"names \(a.b, ...\) are unknown. Tried: zoo \(detector\), zoo \(back"):
        converted({"a.b": np.zeros(3)}, detector, shapes)


def test_the_source_can_be_told(mobilenet_v1):
    detector, shapes, arrays = mobilenet_v1
    with pytest.raises(CheckpointError, match="Tried: none of timm"):
        converted(arrays, detector, shapes, source="timm")


def test_an_imagenet_file_fills_the_body_only(mobilenet_v1):
    detector, shapes, arrays = mobilenet_v1
    prefix = "network.feature_extractor.mobilenet_v1."
    body = {key[len(prefix):]: array for key, array in arrays.items() if key.startswith(prefix)}
    conversion = converted({**body, "fc.weight": np.zeros((1000, 1024))}, detector, shapes)
    assert conversion.naming.content == "backbone"
    assert set(conversion.arrays) == {name for name in shapes if name.startswith("backbone.")}
    assert set(conversion.missing) == {name for name in shapes if not name.startswith("backbone.")}
    assert conversion.ignored == {"fc.weight": "the classifier of ImageNet"}
    rows = conversion.rows()
    assert ("taken", "into backbone", len(body)) in rows
    assert ("ignored", "the classifier of ImageNet", 1) in rows
    assert ("missing", "extras: not in such a file, keeps its initial values", 20) in rows
    assert ("taken", "network.0.0.weight -> backbone.stem.conv.weight", 1) in conversion.rows(each=True)


def test_a_file_of_centernet_s_training_cell_on_ascend_is_taken_whole():
    detector, shapes = model("centernet_resnet101", "--up_sampling", "plain")
    arrays = {f"train_on_step.{key}": array for key, array in numbered(Golden("centernet_resnet101")).items()}
    state = {"train_on_step.optimizer.moment2.network.wh_fn.2.bias": np.zeros(2), "train_on_step.optimizer.global_step":
             np.zeros(1), "train_on_step.optimizer.beta1_power": np.zeros(())}
    conversion = converted({**arrays, **state}, detector, shapes)
    assert set(conversion.arrays) == set(shapes) and set(conversion.ignored) == set(state)
