"""`src/mask_rcnn/decode.py` as ONNX operators, but for the stretching of masks, whose size depends on the image."""
from __future__ import annotations

from src.ops.onnx_nodes import OnnxNodes, OnnxTensor, Ranked


def add_masks(nodes: OnnxNodes, masks: OnnxTensor, ranked: Ranked) -> OnnxTensor:
    """masks (1, K, s, s) -> (N, s, s), in the order of the ranked detections."""
    ordered = nodes.add("Gather", nodes.add("Squeeze", masks.name, axes=[0]), ranked.order, axis=0)
    return OnnxTensor(ordered, (ranked.detections.shape[0], *masks.shape[2:]))
