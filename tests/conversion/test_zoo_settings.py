"""A checkpoint of the old zoo says nothing about itself; its names and shapes show which settings it needs."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden import Golden

from src.checkpoint import Weights
from src.command_line import load_config
from src.conditions import with_zoo_settings
from src.models import MODELS, detector_class


def zoo_checkpoint(golden: str, **about) -> Weights:
    """A file with the names and shapes of a golden list, and the state of an optimizer."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape, _ in Golden(golden).parameters()}
    return Weights({**arrays, "learning_rate": np.zeros(3, np.float32)}, Path("zoo.ckpt"), **about)


def used(model: str, weights: Weights, *flags: str):
    config = load_config(["--model_name", model, *flags], "eval")
    return with_zoo_settings(config, weights, detector_class(config))


@pytest.mark.parametrize("golden, model, key, value, line", [
    ("faster_rcnn_res2net50", "faster_rcnn_res2net50", "stem_batch_statistics", True, "stem_batch_statistics True"),
    ("faster_rcnn_res2net101", "faster_rcnn_res2net101", "stem_batch_statistics", True, "stem_batch_statistics True"),
    ("faster_rcnn_master_r50", "faster_rcnn_resnet50", "without_bg_loss", True, "without_bg_loss True"),
    ("centernet_resnet50", "centernet_resnet50", "up_sampling", "plain", "up_sampling plain"),
    ("centernet_resnet101", "centernet_resnet101", "up_sampling", "plain", "up_sampling plain"),
])
def test_a_checkpoint_of_the_zoo_brings_the_settings_it_was_trained_with(golden, model, key, value, line, capsys):
    config = used(model, zoo_checkpoint(golden))
    assert getattr(config.model, key) == value
    assert capsys.readouterr().out == f"zoo.ckpt is a checkpoint of the old zoo, used as it was trained: {line}\n"


@pytest.mark.parametrize("golden, model", [
    ("faster_rcnn_r50", "faster_rcnn_resnet50"), ("maskrcnn_r50", "mask_rcnn_resnet50"), ("ssd300", "ssd300"),
    ("ssd_vgg16", "ssd_vgg16")])
def test_nothing_is_said_where_the_settings_are_right_already(golden, model, capsys):
    assert used(model, zoo_checkpoint(golden)) == load_config(["--model_name", model], "eval")
    assert capsys.readouterr().out == ""


def test_a_setting_that_the_parameters_contradict_is_corrected_in_both_directions(capsys):
    assert not used("faster_rcnn_resnet50", zoo_checkpoint("faster_rcnn_r50"),
                    "--without_bg_loss", "True").model.without_bg_loss
    assert "without_bg_loss False" in capsys.readouterr().out


@pytest.mark.parametrize("model", MODELS)
def test_checkpoints_that_say_what_they_are_keep_the_settings_given(model, capsys):
    names = ("backbone.stem.0.conv.weight", "stages.0.up.weight", "box_head.logits.bias", "box_head.deltas.bias")
    weights = Weights({name: np.zeros(1) for name in names}, Path("ours.ckpt"))
    config = load_config(["--model_name", model], "eval")
    assert with_zoo_settings(config, weights, detector_class(config)) == config
    golden = zoo_checkpoint("centernet_resnet50", model_name=model)
    assert with_zoo_settings(config, golden, detector_class(config)) == config
    assert capsys.readouterr().out == ""
