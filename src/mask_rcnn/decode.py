"""Outputs of MaskRCNNInference and the picture's place on the canvas -> detections in original pixels (numpy)."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.faster_rcnn.decode import decode_rows
from src.faster_rcnn.transforms import Placement
from src.ops.detections import Detections
from src.ops.masks import over_box, over_grown_pixels, over_touched_pixels, paste_masks

STRETCH = {"touched pixels": over_touched_pixels, "grown pixels": over_grown_pixels, "box": over_box}


def decode(boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray, masks: np.ndarray, placement: Placement,
           threshold: float) -> Detections:
    """The first three as of Faster R-CNN's decode; masks (K, s, s) in 0..1, of which what is above the threshold
    belongs to the object."""
    found, rows = decode_rows(boxes, labels, valid, placement)
    last = 0 if placement.style.exact_ends else 1
    return replace(found, masks=paste_masks(masks[rows], found.boxes - np.float32([0, 0, last, last]),
                                            placement.picture_size, threshold, STRETCH[placement.style.masks_over]))
