"""Outputs of FasterRCNNInference and the image's place on the canvas -> detections in original pixels (numpy)."""
from __future__ import annotations

import numpy as np

from src.faster_rcnn.transforms import Placement
from src.ops.detections import Detections


def decode(boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray, placement: Placement) -> Detections:
    """boxes (K, 5), labels (K, 1) and valid (K, 1) of one image, best first.

    Boxes are cut off at the edge of the image; boxes that lie in the padding of the canvas entirely are dropped.
    """
    return decode_rows(boxes, labels, valid, placement)[0]


def decode_rows(boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray,
                placement: Placement) -> tuple[Detections, np.ndarray]:
    """(what `decode` returns, the numbers (N,) of the rows of the outputs that these are)."""
    corners = placement.to_image(boxes[:, :4])
    rows = np.flatnonzero(valid[:, 0] & (corners[:, 2:] > corners[:, :2]).all(axis=1))
    return Detections(boxes=corners[rows], scores=boxes[rows, 4].astype(np.float32),
                      labels=labels[rows, 0].astype(np.int32)), rows
