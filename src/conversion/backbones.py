"""ImageNet backbones of torchvision, timm and MindCV: their names, and where they compute differently.

The tables hold the names of cells (theirs -> ours). Channels per group, activations and strides agree. What differs:
- padding of strided layers: the converted checkpoint requires the setting backbone_style;
- epsilon of the batch norms: gamma is scaled so that the norm gives the same numbers;
- order of the input's colours: the stem's input channels are reversed for a family that takes BGR;
- mean and std of the input: the converted checkpoint requires these settings;
- biases before a batch norm: they are subtracted from its moving mean.
"""
from __future__ import annotations

from typing import Optional

import numpy as np
from mindspore import nn

from src.backbones.library_names import LibraryBackbone
from src.conditions import norm_eps
from src.conversion.naming import Naming
from src.errors import CheckpointError

NORM_WORDS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
COUNTER = ".num_batches_tracked"
LIBRARY_EPS = 1e-5  # of every batch norm in the backbones below
SCALES = {"weight": "running_var", "gamma": "moving_variance"}  # of norms: the factor and the variance, in either words
# torchvision's VGG16_Weights.IMAGENET1K_FEATURES, whose classifier is NaN: what its SSD300 starts from.
FEATURES_MEAN, FEATURES_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)


def backbone_namings(detector, network: nn.Cell) -> list:
    """The namings of other libraries' files for the backbone of the network."""
    return [_naming(backbone, detector, network) for backbone in detector.backbone.libraries]


def _naming(backbone: LibraryBackbone, detector, network: nn.Cell) -> Naming:
    cells = backbone.cells()
    norms = batch_norms(network)
    parameters = {parameter.name for parameter in network.backbone.get_parameters()}
    theirs_of = {ours: theirs for theirs, ours in cells.items()}
    bgr = detector.export_description()["input"]["channels"] == "BGR"
    extra_biases = {f"{theirs}.bias": theirs_of.get(_norm_behind(ours)) for theirs, ours in cells.items()
                    if ours not in norms and f"{ours}.bias" not in parameters}

    def rename(name: str):
        return renamed_from_library(name, cells, norms)

    def reason_to_ignore(name: str):
        if name.startswith(backbone.classifiers):
            return "the classifier of ImageNet"
        if name.endswith(COUNTER):
            return "PyTorch's count of batches"
        return "part of the moving mean of the norm behind it" if name in extra_biases else None

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        for bias in set(extra_biases) & set(result):
            if extra_biases[bias] is None:
                raise CheckpointError(f"{bias}: the convolutions of these weights have biases, the zoo's have none; "
                                      "add --vgg_bias True, here and in training")
            mean = f"{extra_biases[bias]}.running_mean"
            result[mean] = result[mean] - result[bias]
        scale_norms(result, cells, norms, LIBRARY_EPS)
        stem = f"{next(iter(cells))}.weight"
        if bgr and stem in result:
            result[stem] = result[stem][:, ::-1]
        return result

    def is_needed(ours: str) -> bool:
        return ours in parameters and not ours.startswith(detector.not_from_imagenet)

    def conditions(arrays: dict) -> dict:
        features_only = any(np.isnan(array).any() for name, array in arrays.items()
                            if name.startswith(backbone.classifiers))
        mean, std = (FEATURES_MEAN, FEATURES_STD) if features_only else (backbone.mean, backbone.std)
        return {"backbone_style": backbone.style, "mean": list(mean[::-1] if bgr else mean),
                "std": list(std[::-1] if bgr else std), "norm_eps": norm_eps(network.backbone)}

    return Naming(backbone.source, "backbone", rename, reason_to_ignore, is_needed, prepare, conditions,
                  refused=backbone.refused)


def batch_norms(network: nn.Cell) -> dict:
    """{name: cell} of the batch norms."""
    return {name: cell for name, cell in network.cells_and_names() if isinstance(cell, nn.BatchNorm2d)}


def renamed_from_library(name: str, cells: dict, norms: dict) -> Optional[str]:
    """Our name of a parameter of theirs, None if its cell is not in the table {their cell: ours}."""
    theirs, _, word = name.rpartition(".")
    ours = cells.get(theirs)
    return ours and f"{ours}.{NORM_WORDS.get(word, word) if ours in norms else word}"


def scale_norms(arrays: dict, cells: dict, norms: dict, eps: float) -> None:
    """Change the scale of the norms in a file so that ours give the same numbers with an epsilon of their own."""
    for theirs, ours in cells.items():
        for factor, variance_name in SCALES.items():
            gamma, variance = f"{theirs}.{factor}", arrays.get(f"{theirs}.{variance_name}")
            if ours in norms and gamma in arrays and variance is not None and norms[ours].eps != eps:
                arrays[gamma] = arrays[gamma] * np.sqrt((variance + norms[ours].eps) / (variance + eps))


def _norm_behind(conv: str) -> str:
    return conv.rpartition(".")[0] + ".norm"
