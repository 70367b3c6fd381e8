"""What trained two-stage detectors have got used to, by the library they come from: the setting box_style."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class BoxStyle:
    """exact_ends: a box ends with its last pixel in everything that is done with it. The zoo leaves the last pixel out
    when it suppresses boxes, scales x2 and y2 as they are, and lets a box reach one pixel beyond the canvas; the others
    stop it where the picture ends.
    centered_anchors: they lie around the middle of a cell, not around its upper left corner. rounded_anchors: to whole
    pixels. spread_anchors: their cells are spread over the canvas, whatever the stride of the layers is.
    least_roi_cells: shortest side of a RoI in the map that it is looked up in; None = as in the zoo, whose Mask R-CNN
    differs from its Faster R-CNN.
    dense_rois: RoIs are sampled as in mmdetection, see PyramidRoIAlign.
    resized_as_numbers: pictures are resized in float32, and sides rounded down; else as uint8, and rounded to the next.
    masks_over: what of the picture the mask of a box is stretched over, see src/mask_rcnn/decode.py.
    """

    exact_ends: bool
    centered_anchors: bool
    rounded_anchors: bool
    spread_anchors: bool
    least_roi_cells: Optional[float]
    dense_rois: bool
    resized_as_numbers: bool
    masks_over: str


BOX_STYLES = {
    "zoo": BoxStyle(exact_ends=False, centered_anchors=True, rounded_anchors=True, spread_anchors=False,
                    least_roi_cells=None, dense_rois=False, resized_as_numbers=False, masks_over="touched pixels"),
    "torchvision": BoxStyle(exact_ends=True, centered_anchors=False, rounded_anchors=True, spread_anchors=True,
                            least_roi_cells=1.0, dense_rois=False, resized_as_numbers=True, masks_over="grown pixels"),
    "mmdet": BoxStyle(exact_ends=True, centered_anchors=False, rounded_anchors=False, spread_anchors=False,
                      least_roi_cells=0.0, dense_rois=True, resized_as_numbers=False, masks_over="box"),
}
