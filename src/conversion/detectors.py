"""Whole detectors of other libraries whose layers our networks have."""
from __future__ import annotations

from mindspore import nn

from src.conversion.torchvision_ssd import ssd_namings
from src.conversion.two_stage import two_stage_namings

LAYERS = {"torchvision_ssd": ssd_namings, "two_stage": two_stage_namings}  # by the detector's `layers_as`


def detector_namings(detector, network: nn.Cell) -> list:
    """The files of other libraries that hold all weights of the network."""
    return LAYERS[detector.layers_as](detector, network) if detector.layers_as else []
