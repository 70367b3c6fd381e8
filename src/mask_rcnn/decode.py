"""Outputs of MaskRCNNInference and the picture's place on the canvas -> detections in original pixels (numpy)."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.faster_rcnn.decode import decode_rows
from src.faster_rcnn.transforms import Placement
from src.ops.detections import Detections
from src.ops.masks import paste_masks


def decode(boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray, masks: np.ndarray, placement: Placement,
           threshold: float) -> Detections:
    """The first three as of Faster R-CNN's decode; masks (K, s, s) in 0..1, of which what is above the threshold
    belongs to the object."""
    found, rows = decode_rows(boxes, labels, valid, placement)
    last_pixels = found.boxes - np.float32([0, 0, 1, 1])
    return replace(found, masks=paste_masks(masks[rows], last_pixels, placement.picture_size, threshold))
