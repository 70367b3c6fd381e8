"""`src/centernet/decode.py` for one view as ONNX operators."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.centernet.config import STRIDE
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor, ranked

SIGMA, MIN_SCORE = 0.5, 0.001   # of `soft_nms` in src/ops/nms.py


def add_decoding(nodes: OnnxNodes, peaks: OnnxTensor, image_size: str, *, input_size: Sequence[int],
                 soft: bool) -> OnnxTensor:
    """peaks (1, N, 6) and image_size (1, 2) float32 -> detections (N, 6).

    input_size: height, width of the network input. soft: soft-NMS within each class.
    Rows: x1, y1, x2, y2 in pixels of the image, score, class; best first, then NO_DETECTION.
    """
    count, rows = peaks.shape[1], nodes.add("Squeeze", peaks.name, axes=[0])
    side = nodes.add("ReduceMax", image_size, axes=[1], keepdims=1)
    # The window that the network sees has the image in its middle, and the ratio of the input.
    half = nodes.add("Mul", side, np.array([[0.5 * input_size[0] / input_size[1], 0.5]], np.float32))
    corner = nodes.add("Sub", nodes.add("Mul", image_size, 0.5), half)
    shift = nodes.add("Gather", corner, np.array([1, 0, 1, 0], np.int64), axis=1)
    pixels_per_cell = nodes.add("Mul", side, STRIDE / input_size[1])
    boxes = nodes.add("Add", nodes.add("Mul", nodes.columns(rows, 0, 4), pixels_per_cell), shift)
    scores, labels = nodes.columns(rows, 4, 5), nodes.columns(rows, 5, 6)
    if soft:
        scores = _soft_nms(nodes, boxes, scores, labels, count)
    return ranked(nodes, nodes.add("Concat", boxes, scores, labels, axis=1), count).detections


def _soft_nms(nodes: OnnxNodes, boxes: str, scores: str, labels: str, count: int) -> str:
    """boxes (N, 4), scores (N, 1), labels (N, 1) -> the lowered scores (N, 1): `soft_nms` of all classes at once.

    Each step picks the best box of all classes. It lowers the scores of its own class only, so the order in which
    classes get their turns does not matter.
    """
    same_class = nodes.add("Equal", labels, nodes.add("Transpose", labels, perm=[1, 0]))
    overlap = _overlaps(nodes, boxes)
    decay = nodes.add("Exp", nodes.add("Mul", nodes.add("Mul", overlap, overlap), -1 / SIGMA))
    factors = nodes.add("Where", same_class, decay, 1.0)
    same_class = nodes.cast(same_class, np.float32)

    def step(inner: OnnxNodes, states: list[str]) -> list[str]:
        """Scores and waiting (N, 1) without the best waiting box, and with what this does to the others."""
        scores, waiting = states
        best = inner.add("ArgMax", inner.add("Where", inner.add("Greater", waiting, 0.5), scores, -1.0), axis=0,
                         keepdims=0)
        picked = inner.cast(inner.add("Equal", inner.constant(np.arange(count)[:, None]), best), np.float32)
        others = inner.add("Relu", inner.add("Sub", waiting, picked))
        lowered = inner.add("Where", inner.add("Greater", others, 0.5),
                            inner.add("Mul", scores, inner.add("Gather", factors, best, axis=1)), scores)
        dropped = inner.add("Mul", inner.add("Mul", others, inner.add("Gather", same_class, best, axis=1)),
                            inner.cast(inner.add("Less", lowered, MIN_SCORE), np.float32))
        return [inner.add("Where", inner.add("Greater", dropped, 0.5), 0.0, lowered),
                inner.add("Sub", others, dropped)]

    all_wait = nodes.constant(np.ones((count, 1), np.float32))
    return nodes.loop(count, [OnnxTensor(name, (count, 1)) for name in (scores, all_wait)], step)[0]


def _overlaps(nodes: OnnxNodes, boxes: str) -> str:
    """(N, 4) -> IoU of all pairs (N, N), with the last pixel included."""
    low, high = nodes.columns(boxes, 0, 2), nodes.add("Add", nodes.columns(boxes, 2, 4), 1.0)
    low_rows, low_columns, high_rows, high_columns = (
        nodes.add("Unsqueeze", corner, axes=[axis]) for corner in (low, high) for axis in (1, 0))
    sides = nodes.add("Sub", nodes.add("Min", high_rows, high_columns), nodes.add("Max", low_rows, low_columns))
    inter = nodes.add("ReduceProd", nodes.add("Relu", sides), axes=[2], keepdims=0)
    areas = nodes.add("ReduceProd", nodes.add("Sub", high, low), axes=[1], keepdims=1)
    both = nodes.add("Add", areas, nodes.add("Transpose", areas, perm=[1, 0]))
    return nodes.add("Div", inter, nodes.add("Sub", both, inter))
