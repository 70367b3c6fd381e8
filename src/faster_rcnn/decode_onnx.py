"""`src/faster_rcnn/decode.py` as ONNX operators."""
from __future__ import annotations

from typing import Optional, Sequence

import numpy as np

from src.ops.onnx_nodes import OnnxNodes, OnnxTensor, Ranked, ranked


def add_decoding(nodes: OnnxNodes, boxes: OnnxTensor, labels: str, valid: str, image_size: str, scale: str, *,
                 end_offset: int) -> Ranked:
    """boxes (1, N, 5), labels (1, N, 1), valid (1, N, 1), image_size (1, 2), scale (1, 2) -> detections (N, 6).

    image_size: height, width. scale: factors of y and x. end_offset: BoxStyle.scaled_end_offset.
    Rows: x1, y1, x2, y2 in pixels of the image, score, class; best first, then NO_DETECTION.
    """
    rows, labels, valid = (nodes.add("Squeeze", name, axes=[0]) for name in (boxes.name, labels, valid))
    x_y_x_y = np.array([1, 0, 1, 0], np.int64)
    end = np.array([0, 0, 1, 1], np.float32)
    shifted = nodes.add("Add", nodes.columns(rows, 0, 4), end * end_offset)
    corners = nodes.add("Add", nodes.add("Div", shifted, nodes.add("Gather", scale, x_y_x_y, axis=1)),
                        end * (1 - end_offset))
    corners = nodes.add("Min", nodes.add("Relu", corners), nodes.add("Gather", image_size, x_y_x_y, axis=1))
    sides = nodes.add("Sub", nodes.columns(corners, 2, 4), nodes.columns(corners, 0, 2))
    in_image = nodes.add("Greater", nodes.add("ReduceMin", sides, axes=[1], keepdims=1), 0.0)
    scores = nodes.add("Where", nodes.add("And", valid, in_image), nodes.columns(rows, 4, 5), 0.0)
    found = nodes.add("Concat", corners, scores, nodes.cast(labels, np.float32), axis=1)
    return ranked(nodes, found, boxes.shape[1])


def add_scale(nodes: OnnxNodes, image_size: str, input_size: Sequence[int], keep_ratio: bool,
              sides: Optional[Sequence[int]]) -> str:
    """The scale of `fit` (1, 2) for an image_size (1, 2); its arguments are the same."""
    scale = nodes.add("Div", np.array([input_size], np.float32), image_size)
    if not keep_ratio:
        return scale
    limits = [nodes.add("ReduceMin", scale, axes=[1], keepdims=1)]
    if sides:
        limits += [nodes.add("Div", np.array([[side]], np.float32), nodes.add(reduce, image_size, axes=[1], keepdims=1))
                   for side, reduce in zip(sides, ("ReduceMin", "ReduceMax"))]
    return nodes.add("Expand", nodes.add("Min", *limits), np.array([1, 2], np.int64))
