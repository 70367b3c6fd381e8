"""Whole detectors of other libraries whose layers our networks have."""
from __future__ import annotations

from mindspore import nn

from src.conversion.centernet import centernet_namings
from src.conversion.tensorflow_ssd import tensorflow_namings
from src.conversion.torchvision_ssd import ssd_namings
from src.conversion.two_stage import two_stage_namings

LAYERS = {  # by the detector's `layers_as`
    "torchvision_ssd": ssd_namings, "tensorflow_ssdlite": tensorflow_namings, "two_stage": two_stage_namings,
    "centernet": centernet_namings}


def detector_namings(detector, network: nn.Cell) -> list:
    """The files of other libraries that hold all weights of the network."""
    return LAYERS[detector.layers_as](detector, network) if detector.layers_as else []
