"""CenterNet of its authors (https://github.com/xingyizhou/CenterNet): the ResNets with deformable convolutions.

Channels of a deformable convolution agree: of each of the nine taps dy and dx, then the nine modulations (the authors'
DCNv2, modulated_deformable_im2col_gpu_kernel). The network sees blue, green, red, as ours does.
"""
from __future__ import annotations

from mindspore import nn

from src.backbones.library_names import torchvision_resnet
from src.conditions import norm_eps
from src.conversion.backbones import COUNTER, LIBRARY_EPS, batch_norms, renamed_from_library, scale_norms
from src.conversion.naming import Naming

LAYERS_OF_STAGE = 6  # deformable convolution, norm, ReLU, up-convolution, norm, ReLU
HEADS = {"hm": "heatmap", "wh": "size", "reg": "offset"}


def centernet_namings(detector, network: nn.Cell) -> list:
    """The authors' detector, for a network with its layers."""
    cells, norms = _cells(int(detector.config.model.backbone_name[len("resnet"):])), batch_norms(network)
    data = detector.config.data

    def prepare(arrays: dict) -> dict:
        result = dict(arrays)
        scale_norms(result, cells, norms, LIBRARY_EPS)
        return result

    return [Naming("centernet", "detector", lambda name: renamed_from_library(name, cells, norms),
                   lambda name: "PyTorch's count of batches" if name.endswith(COUNTER) else None, bool, prepare,
                   lambda _arrays: {"backbone_style": "pytorch", "mean": data.mean, "std": data.std,
                                    "norm_eps": norm_eps(network.backbone)})]


def _cells(depth: int) -> dict:
    cells = torchvision_resnet(depth)
    for stage in range(3):
        first = stage * LAYERS_OF_STAGE
        for layer, ours in enumerate(("adapt.conv.conv", "adapt.norm", None, "up", "norm")):
            if ours:
                cells[f"deconv_layers.{first + layer}"] = f"stages.{stage}.{ours}"
        cells[f"deconv_layers.{first}.conv_offset_mask"] = f"stages.{stage}.adapt.conv.offset"
    for theirs, ours in HEADS.items():
        cells.update({f"{theirs}.0": f"{ours}.conv", f"{theirs}.2": f"{ours}.output"})
    return cells
