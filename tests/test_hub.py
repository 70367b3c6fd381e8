"""create_network of mindspore_hub_conf.py: every model, with or without weights."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from mindspore_hub_conf import create_network
from src.checkpoint import save_weights
from src.errors import UsageError


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
    save_weights(tmp_path / "a.ckpt", parameters, "ssd300", ["circle", "square"])
    second = create_network("ssd300", img_shape=[96, 96], checkpoint_file_path=str(tmp_path / "a.ckpt"))
    for name, parameter in second.parameters_dict().items():
        np.testing.assert_array_equal(parameter.asnumpy(), parameters[name].asnumpy())


@pytest.mark.parametrize("name", ["ssd_mobilenet_v1", "centernet_resnet50"])
def test_without_classes_a_network_is_for_coco(name):
    network = create_network(name)
    assert len(network.trainable_params()) > 50


def test_an_unknown_name_is_named():
    with pytest.raises(UsageError, match="unknown model 'yolo'; available: ssd300, "):
        create_network("yolo")
