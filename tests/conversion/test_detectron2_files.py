"""What detectron2's files hold besides the weights: mean and std of the input, and anchors."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from src.backbones.library_names import torchvision_resnet
from src.checkpoint import Weights
from src.command_line import load_config
from src.conversion.convert import convert
from src.conversion.two_stage import _detectron2_cells, two_stage_namings
from src.errors import CheckpointError
from src.models import build_detector

STEM = "backbone.bottom_up.stem.conv1.weight"
WORDS = ("weight", "bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var")
BLOCKS = [f"backbone.bottom_up.res{stage}.{block}" for stage, count in enumerate((3, 4, 6, 3), 2)
          for block in range(count)]
NAMES = [f"{cell}.{word}" for word in WORDS for cell in (
    "backbone.bottom_up.stem.conv1", *(f"{block}.conv{layer}" for block in BLOCKS for layer in (1, 2, 3)),
    *(f"{block}.shortcut" for block in BLOCKS if block.endswith(".0")),
    *(f"backbone.fpn_{kind}{level}" for kind in ("lateral", "output") for level in (2, 3, 4, 5)),
    *(f"proposal_generator.rpn_head.{layer}" for layer in ("conv", "objectness_logits", "anchor_deltas")),
    *(f"roi_heads.{layer}" for layer in ("box_head.fc1", "box_head.fc2", "box_predictor.cls_score",
                                         "box_predictor.bbox_pred")))]
BGR_MEAN = np.float32([103.53, 116.28, 123.675]).reshape(3, 1, 1)
STD = np.float32([58.395, 57.12, 57.375])


@pytest.fixture(scope="module")
def detector_and_network():
    detector = build_detector(load_config(["--model_name", "faster_rcnn_resnet50", "--feature_extractor_base_param",
                                           "none", "--img_height", "64", "--img_width", "64"], "convert"), ["a", "b"])
    return detector, detector.network()


@pytest.fixture(scope="module")
def naming(detector_and_network):
    return two_stage_namings(*detector_and_network)[-1]


def stem(*channels: float) -> np.ndarray:
    """(1, 3, 1, 1): a first layer with these factors of its input channels."""
    return np.float32(channels).reshape(1, 3, 1, 1)


@pytest.mark.parametrize("about, factors, style", [
    ({}, [3, 2, 1] * STD, "caffe"),
    ({"pixel_mean": BGR_MEAN, "pixel_std": np.ones((3, 1, 1))}, [3, 2, 1] * STD, "caffe"),
    ({"pixel_mean": BGR_MEAN, "pixel_std": np.float32([10, 20, 30])}, [0.1, 0.1, 0.1] * STD, "caffe"),
    # Weights that tools/convert-torchvision-to-d2.py wrote.
    ({"pixel_mean": BGR_MEAN[::-1], "pixel_std": STD}, [1, 2, 3], "pytorch"),
])
def test_the_first_layer_takes_our_input(naming, about, factors, style):
    arrays = {STEM: stem(1, 2, 3), **about}
    np.testing.assert_allclose(naming.prepare(arrays)[STEM].ravel(), factors, rtol=1e-6)
    assert naming.conditions(arrays)["backbone_style"] == style
    assert all(naming.reason_to_ignore(name) for name in about)


def test_another_mean_is_refused(naming):
    with pytest.raises(CheckpointError, match=r"pixel_mean \[100.0, 116.0, 123.0\] of the file is not the mean"):
        naming.prepare({STEM: stem(1, 2, 3), "pixel_mean": np.float32([100, 116, 123])})


def test_anchors_are_compared_with_those_of_the_settings(naming):
    name = "proposal_generator.anchor_generator.cell_anchors.1"
    half = np.float32([[90.5, 45.25], [64, 64], [45.25, 90.5]]) / 2
    arrays = {STEM: stem(1, 2, 3), name: np.concatenate([-half, half], 1)}
    naming.prepare(arrays)
    assert naming.reason_to_ignore(name) == "anchors, which were compared with those of the settings"
    with pytest.raises(CheckpointError, match=r"cell_anchors.1 of the file are \[\[181.0, 90.0\].*--anchor_scales"):
        naming.prepare({**arrays, name: 2 * arrays[name]})


@pytest.mark.parametrize("classes, advice", [
    # The network has a box for background, which detectron2 has not: the number of classes is not what differs.
    (2, "check --model, --classes and --source, and give its settings: --config_path "
        "config/faster_rcnn/faster_rcnn_resnet50_detectron2.yaml"),
    (5, "give its settings: --config_path config/faster_rcnn/"),
])
def test_shapes_of_another_box_head_are_not_taken_for_another_number_of_classes(detector_and_network, naming, classes,
                                                                                advice):
    detector, network = detector_and_network
    outputs = {"box_head.logits": classes + 1, "box_head.deltas": 4 * classes}
    arrays, shapes = {}, {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    for name, shape in shapes.items():
        cell, _, word = name.rpartition(".")
        theirs = next(theirs for theirs in NAMES if naming.rename(theirs) == name)
        shape = (*shape[:-1], outputs.get(cell, shape[-1]))
        arrays[theirs] = np.ones(shape[::-1] if cell.startswith("box_head.") else shape, np.float32)
    with pytest.raises(CheckpointError, match="box_head.deltas.bias of the network") as error:
        convert(Weights(arrays, Path("a.pkl")), naming, shapes, len(detector.classes),
                Path("config/faster_rcnn/faster_rcnn_resnet50_detectron2.yaml"))
    assert advice in str(error.value) and "The file has" not in str(error.value)


def test_every_name_of_detectron2_is_known(naming):
    """Names of a file of its model zoo, beside those of the blocks that every stage has."""
    for name, ours in (("backbone.fpn_lateral2.bias", "fpn.laterals.0.bias"),
                       ("backbone.fpn_output5.weight", "fpn.outputs.3.weight"),
                       ("backbone.bottom_up.stem.conv1.norm.running_var", "backbone.stem.norm.moving_variance"),
                       ("backbone.bottom_up.res4.5.conv3.norm.weight", "backbone.stages.2.5.expand.norm.gamma"),
                       ("backbone.bottom_up.res2.0.shortcut.weight", "backbone.stages.0.0.shortcut.conv.weight"),
                       ("proposal_generator.rpn_head.anchor_deltas.bias", "rpn.deltas.bias"),
                       ("roi_heads.box_predictor.cls_score.weight", "box_head.logits.weight"),
                       ("roi_heads.mask_head.predictor.bias", "mask_head.logits.bias")):
        assert naming.rename(name) == ours
    assert naming.rename("roi_heads.res5.0.conv1.weight") is None


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_every_layer_of_a_backbone_has_a_name_in_detectron2(depth):
    cells = _detectron2_cells(depth)
    backbone = {ours for ours in cells.values() if ours.startswith("backbone.")}
    assert backbone == set(torchvision_resnet(depth).values()) and len(set(cells.values())) == len(cells)
