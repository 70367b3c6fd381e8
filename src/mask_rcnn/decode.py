"""Outputs of MaskRCNNInference and the image's place on the canvas -> detections in original pixels (numpy)."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from src.faster_rcnn.decode import decode_rows
from src.faster_rcnn.transforms import Placement
from src.ops.detections import Detections
from src.ops.masks import over_box, over_grown_pixels, over_touched_pixels, paste_masks

# By BoxStyle.masks_over: how a mask is stretched over its box, and the offset subtracted from x2 and y2; the zoo uses
# the last pixel there, the others the end of the box.
STRETCH = {"touched pixels": (over_touched_pixels, 1), "grown pixels": (over_grown_pixels, 0), "box": (over_box, 0)}


def decode(boxes: np.ndarray, labels: np.ndarray, valid: np.ndarray, masks: np.ndarray, placement: Placement,
           threshold: float) -> Detections:
    """boxes (K, 5), labels (K, 1), valid (K, 1) and masks (K, s, s) in 0..1 of one image, best first; pixels whose mask
    is above the threshold belong to the object."""
    found, rows = decode_rows(boxes, labels, valid, placement)
    return with_pasted_masks(found, masks[rows], placement, threshold)


def with_pasted_masks(found: Detections, masks: np.ndarray, placement: Placement, threshold: float) -> Detections:
    """The detections with their masks (N, s, s) stretched over their boxes."""
    stretch, last = STRETCH[placement.style.masks_over]
    return replace(found, masks=paste_masks(masks, found.boxes - np.array([0, 0, last, last], np.float32),
                                            placement.image_size, threshold, stretch))
