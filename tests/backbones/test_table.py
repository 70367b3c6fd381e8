"""Each row of the table of backbones says of its network what is so."""
from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor

from src.backbones.table import BACKBONES, find_backbone
from src.errors import ConfigError

# Layers of SSD's backbones that the networks of ImageNet do not have.
OF_SSD = ("backbone.expand16.", "backbone.fc6.", "backbone.fc7.")
DEEP = ("101", "152")  # more blocks of the same kind: their names are tested, their maps take long


@pytest.fixture(scope="module")
def networks():
    return {name: row.build().set_train(False) for name, row in BACKBONES.items() if not name.endswith(DEEP)}


@pytest.mark.parametrize("name", [name for name in BACKBONES if not name.endswith(DEEP)])
def test_channels_and_strides_are_those_of_the_maps(networks, name):
    row = BACKBONES[name]
    maps = networks[name](Tensor(np.zeros((1, 3, 64, 96), np.float32)))
    assert [features.shape for features in maps] == [
        (1, channels, 64 // stride, 96 // stride) for channels, stride in zip(row.channels, row.strides)]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_layer_with_parameters_has_a_name_in_the_zoo_and_in_every_library(networks, name):
    row = BACKBONES[name]
    network = networks.get(name) or row.build()
    layers = {f"backbone.{parameter.name.rpartition('.')[0]}" for parameter in network.get_parameters()}
    named = {layer for layer in layers if not f"{layer}.".startswith(OF_SSD)}
    assert named == set(row.zoo_cells().values())
    for library in row.libraries:
        cells = library.cells()
        assert named == set(cells.values()), library.source
        assert cells[next(iter(cells))].endswith("conv") and next(iter(cells.values())) in (
            "backbone.stem.conv", "backbone.stem.0.conv", "backbone.blocks.0.0.conv")


def test_an_unknown_backbone_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match="unknown backbone 'resnext50'; .* has resnet50, resnet101, .*vgg16_bn"):
        find_backbone("resnext50")
