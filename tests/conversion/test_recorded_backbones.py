"""Converted backbones of torchvision, timm and MindCV give the features that these libraries gave (tests/golden)."""
from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import recipe
from library_backbones import CASES, images, read, weights
from mindspore import Tensor

from src.checkpoint import Weights
from src.command_line import load_config
from src.conversion.backbones import backbone_namings
from src.conversion.convert import choose_naming, convert
from src.conversion.naming import zoo_namings
from src.models import build_detector

OF = {(case.library, case.name): case for case in CASES}
PYTORCH = ("--backbone_style", "pytorch")


@pytest.mark.parametrize("model, library, name, flags, places", [
    ("ssd300", "torchvision", "mobilenet_v2", PYTORCH, [1]),
    ("faster_rcnn_resnet50", "torchvision", "resnet50", PYTORCH, [0, 1, 2, 3]),
    ("centernet_resnet50", "torchvision", "resnet50", PYTORCH, [0, 1, 2, 3]),     # takes blue, green, red
    ("ssd_mobilenet_v1", "timm", "mobilenetv1_100", PYTORCH, [0, 1]),
    ("faster_rcnn_res2net50", "timm", "res2net50d", PYTORCH, [0, 1, 2, 3]),
    ("ssd_resnet50_fpn", "mindcv", "resnet50", ("--backbone_style", "mindcv"), [0, 1, 2, 3]),
])
def test_features_are_those_of_the_library(model, library, name, flags, places):
    shapes, maps = read(OF[library, name])
    config = load_config(["--model_name", model, *flags, "--feature_extractor_base_param", "none"], "convert")
    detector = build_detector(config, ("a", "b"))
    network = detector.network().set_train(False)
    parameters = network.parameters_dict()
    file = Weights(weights(OF[library, name], shapes), Path("body.pth"))
    naming = choose_naming(file, zoo_namings(detector) + backbone_namings(detector, network), parameters, None)
    conversion = convert(file, naming, {key: tuple(value.shape) for key, value in parameters.items()})
    assert (naming.source, naming.content) == (library, "backbone")
    for key, array in conversion.arrays.items():
        parameters[key].set_data(Tensor(array))
    given = images()[:, ::-1] if model.startswith("centernet") else images()
    ours = ms.jit(network.backbone)(Tensor(np.ascontiguousarray(given)))
    for (want, shape), place in zip(maps, places):
        have = ours[place].asnumpy()
        assert have.shape == shape and want.std() > 1e-2
        np.testing.assert_allclose(recipe.sample(have, 512)[0], want, rtol=0, atol=1e-3 * np.abs(want).max())
