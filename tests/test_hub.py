"""create_network of mindspore_hub_conf.py: every model, with or without weights."""
from __future__ import annotations

from unittest.mock import MagicMock

import mindspore as ms
import numpy as np
import pytest

import mindspore_hub_conf
from mindspore_hub_conf import create_network
from src.checkpoint import save_weights
from src.errors import ConfigError, UsageError


def test_a_new_network_has_the_outputs_of_the_exported_model():
    network = create_network("ssd300", img_shape=[96, 96], classes=["circle", "square"])
    boxes, scores = network(ms.Tensor(np.zeros((1, 3, 96, 96), np.float32)))
    assert not network.training
    assert boxes.shape[0] == scores.shape[0] == 1 and boxes.shape[1] == scores.shape[1]
    assert boxes.shape[2] == 4 and scores.shape[2] == 3, "two classes and the background"


def test_a_leading_background_is_no_class():
    with_background, without = (create_network("ssd300", classes=classes)
                                for classes in (["background", "circle", "square"], ["circle", "square"]))
    shapes = [{parameter.name: parameter.shape for parameter in network.get_parameters()}
              for network in (with_background, without)]
    assert shapes[0] == shapes[1]


def test_weights_and_classes_come_from_the_checkpoint(tmp_path):
    first = create_network("ssd300", img_shape=[96, 96], classes=["circle", "square"])
    parameters = first.parameters_dict()
    conditions = {"img_shape": [96, 96], "prior_scaling": [0.2, 0.3]}
    save_weights(tmp_path / "a.ckpt", parameters, "ssd300", ["circle", "square"], conditions)
    second = create_network("ssd300", checkpoint_file_path=str(tmp_path / "a.ckpt"))
    for name, parameter in second.parameters_dict().items():
        np.testing.assert_array_equal(parameter.asnumpy(), parameters[name].asnumpy())
    with pytest.raises(ConfigError, match=r"img_shape: 96,96, argument has 300,300"):
        create_network("ssd300", checkpoint_file_path=str(tmp_path / "a.ckpt"), img_shape=[300, 300])


@pytest.mark.parametrize("name", ["ssd_mobilenet_v1", "centernet_resnet50"])
def test_without_classes_a_network_is_for_coco(name):
    network = create_network(name)
    assert len(network.trainable_params()) > 50


def test_an_unknown_name_is_named():
    with pytest.raises(UsageError, match="unknown model 'yolo'; available: ssd300, "):
        create_network("yolo")


@pytest.mark.parametrize("name, model", [("faster_rcnn", "faster_rcnn_resnet50"), ("maskrcnn", "mask_rcnn_resnet50")])
def test_old_names_of_models_are_known(name, model, monkeypatch):
    built = []
    monkeypatch.setattr(mindspore_hub_conf, "build_detector", lambda config, classes: built.append(config) or MagicMock(
        classes=classes))
    create_network(name)
    assert built[0].model.model_name == model


def test_num_classes_is_asserted(monkeypatch):
    monkeypatch.setattr(mindspore_hub_conf, "build_detector", lambda _config, classes: MagicMock(classes=classes))
    for number in (80, 81):     # without and with the background
        create_network("ssd300", num_classes=number)
    with pytest.raises(ConfigError, match="num_classes is 21, which does not fit 80 classes"):
        create_network("ssd300", num_classes=21)
