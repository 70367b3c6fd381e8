"""A checkpoint of the old zoo says nothing about itself; its names and shapes show which settings it needs."""
from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from golden import Golden

from export import classes_of_zoo
from src.checkpoint import Weights
from src.command_line import load_config
from src.conditions import with_zoo_settings
from src.errors import ConfigError
from src.models import MODELS, detector_class, model_of_zoo


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


# --- which model it is

ZOO_MODELS = {"centernet_resnet50": "centernet_resnet50", "centernet_resnet101": "centernet_resnet101",
              "faster_rcnn_r50": "faster_rcnn_resnet50", "faster_rcnn_master_r50": "faster_rcnn_resnet50",
              "faster_rcnn_master_r101": "faster_rcnn_resnet101", "faster_rcnn_res2net50": "faster_rcnn_res2net50",
              "faster_rcnn_res2net152": "faster_rcnn_res2net152", "maskrcnn_r50": "mask_rcnn_resnet50",
              "ssd300": "ssd300", "ssd_vgg16": "ssd_vgg16", "ssd_mobilenet_v1_fpn": "ssd_mobilenet_v1_fpn"}


@pytest.mark.parametrize("golden, model", ZOO_MODELS.items())
def test_the_names_of_a_checkpoint_show_its_model(golden, model):
    assert model_of_zoo([name for name, _, _ in Golden(golden).parameters()]) == model


def test_names_of_nobody_are_of_no_model():
    assert model_of_zoo(["conv1.weight"]) is None and model_of_zoo([]) is None


@pytest.mark.parametrize("argv", [
    ["--ckpt_file", "{}", "--device_target", "Ascend", "--file_format", "MINDIR"],
    ["--device_id", "0", "--export_format", "MINDIR", "--export_load_ckpt", "{}", "--export_name", "centernet"]])
def test_the_export_commands_of_the_readmes_need_no_model(argv, tmp_path, capsys):
    path = tmp_path / "old.ckpt"
    arrays = zoo_checkpoint("centernet_resnet50").arrays
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(array[:1].ravel()[:1])} for name, array in arrays.items()],
                       str(path))
    config = load_config([word.format(path) for word in argv], "export")
    assert config.model.model_name == "centernet_resnet50"
    assert f"{path} is a checkpoint of the old zoo, of a model centernet_resnet50" in capsys.readouterr().out


def test_an_export_without_class_names_is_for_coco_s(capsys):
    config, weights = load_config(["--model_name", "ssd300"], "export"), Weights({}, Path("a.ckpt"))
    assert len(classes_of_zoo(config, weights) or ()) == 80
    assert "a.ckpt and the settings name no classes: the 80 of COCO are taken" in capsys.readouterr().out
    assert classes_of_zoo(config, Weights({}, Path("a.ckpt"), classes=("a",))) is None
    assert classes_of_zoo(config.replace(classes=["a"]), weights) is None
    with pytest.raises(ConfigError, match="num_classes is 4, which does not fit 80"):
        classes_of_zoo(config.replace(num_classes=4), weights)
