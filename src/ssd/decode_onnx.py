"""`src/ssd/decode.py` as ONNX operators."""
from __future__ import annotations

from typing import Optional

import numpy as np

from src.ops.onnx_nodes import NO_DETECTION, OnnxNodes, OnnxTensor, ranked

TO_THE_END = np.iinfo(np.int64).max


def add_decoding(nodes: OnnxNodes, boxes: OnnxTensor, scores: str, image_size: str, *, min_score: float,
                 nms_threshold: float, max_boxes: int, max_per_image: int, candidates_per_class: Optional[int],
                 end_offset: int) -> OnnxTensor:
    """boxes (1, N, 4), scores (1, N, 1 + classes) and image_size (1, 2) float32 -> detections (max_per_image, 6).

    The other arguments are as in `decode`.
    Rows: x1, y1, x2, y2 in pixels of the image, score, class; best first, then NO_DETECTION.
    """
    pixels = nodes.add("Mul", boxes.name, nodes.add("Concat", image_size, image_size, axis=1))
    of_classes = nodes.add("Transpose", nodes.columns(scores, 1, TO_THE_END), perm=[0, 2, 1])
    candidates = nodes.add("Where", nodes.add("Greater", of_classes, min_score), of_classes, -1.0)
    if candidates_per_class is not None:
        number = min(candidates_per_class, boxes.shape[1])
        highest, _ = nodes.add("TopK", candidates, np.array([number], np.int64), outputs=2, axis=2)
        last = nodes.columns(highest, number - 1, number)
        candidates = nodes.add("Where", nodes.add("Less", candidates, last), -1.0, candidates)
    # The operator leaves the last pixel out of sides and overlaps; kept: image, class and box of each detection.
    ends = nodes.add("Add", pixels, np.array([0, 0, end_offset, end_offset], np.float32))
    kept = nodes.add("NonMaxSuppression", ends, candidates, np.array([max_boxes], np.int64),
                     np.array([nms_threshold], np.float32), np.array([0], np.float32))
    corners = nodes.add("Gather", nodes.add("Squeeze", pixels, axes=[0]),
                        nodes.add("Squeeze", nodes.columns(kept, 2, 3), axes=[1]), axis=0)
    rows = nodes.add("Concat", nodes.add("Gather", corners, np.array([1, 0, 3, 2], np.int64), axis=1),
                     nodes.add("Unsqueeze", nodes.add("GatherND", candidates, kept), axes=[1]),
                     nodes.cast(nodes.columns(kept, 1, 2), np.float32),
                     axis=1)
    padded = nodes.add("Concat", rows, np.repeat(NO_DETECTION, max_per_image, axis=0), axis=0)
    return ranked(nodes, padded, max_per_image).detections
