"""Box conventions of the library that trained the weights (setting `box_style`).

Sources: the zoo's Faster and Mask R-CNN (MindSpore models, r1.2); torchvision 0.22, models/detection; mmdetection 3;
detectron2 0.6.
Corners are pixels throughout the code: x2 and y2 are the last pixel of a box, and its end lies one further.
"""
from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class RoISampling:
    """How RoI features are sampled: arguments of PyramidRoIAlign."""

    end_offset: int     # added to x2 and y2; 1 where a RoI includes its last pixel
    least_cells: float  # shortest side of a RoI, in cells of its level
    dense: bool         # a sample for every cell of a bin; otherwise two per side of a bin


@dataclass(frozen=True)
class BoxStyle:
    """The differences between the libraries in images, anchors and boxes; one field per decision."""

    # Images.
    # "uint8", "float32" or "pillow"; torchvision resizes float32 images, to sides that are rounded down, and detectron2
    # with Pillow, which averages where an image shrinks.
    resized_as: str
    padding: str     # colour of the input beside the image: "black", or "mean", which becomes 0 when it is normalised
    # Boxes are scaled by the sides that the image has on the canvas over its own; the zoo takes the factor that these
    # sides were rounded from.
    scaled_by_sides: bool
    scaled_end_offset: int  # added to x2 and y2 while they are scaled; the zoo scales the last pixel

    # Anchors.
    centered_anchors: bool  # around the middle of a cell; otherwise around its upper left corner
    rounded_anchors: bool   # to whole pixels
    spread_anchors: bool    # cells are input size / map size pixels apart, as in torchvision; otherwise a stride

    # Boxes that the network predicts.
    # They end with the image, whose size is the network's second input then; the zoo lets them reach into the padding.
    clipped_to_image: bool
    clipped_end_offset: int      # added to x2 and y2 while they are clipped; the zoo clips the last pixel to the side
    least_decoded_side: float    # sides are widened to it; turned inside out, a box would confuse the zoo's NMS
    least_proposal_side: float   # thinner proposals are dropped; torchvision's min_size; 0 = none is
    least_detection_side: float  # thinner detections are dropped; torchvision's remove_small_boxes; 0 = none is
    nms_end_offset: int          # added to x2 and y2 while overlaps are taken; the zoo leaves the last pixel out

    # Features of RoIs and masks. The zoo's Mask R-CNN differs from its Faster R-CNN in both.
    roi_sampling: RoISampling
    mask_rcnn_roi_sampling: RoISampling
    mask_rcnn_upsampling: str  # of the pyramid's coarser level: "nearest", or "bilinear", the zoo's choice
    masks_over: str            # pixels that the mask of a box is stretched over, see src/mask_rcnn/decode.py


_TORCHVISION_ROIS = RoISampling(end_offset=1, least_cells=1.0, dense=False)
_MMDET_ROIS = RoISampling(end_offset=1, least_cells=0.0, dense=True)

BOX_STYLES = {
    "zoo": BoxStyle(
        resized_as="uint8", padding="black", scaled_by_sides=False, scaled_end_offset=0,
        centered_anchors=True, rounded_anchors=True, spread_anchors=False,
        clipped_to_image=False, clipped_end_offset=0, least_decoded_side=1.0, least_proposal_side=0.0,
        least_detection_side=0.0, nms_end_offset=0,
        roi_sampling=RoISampling(end_offset=1, least_cells=0.0, dense=False),
        mask_rcnn_roi_sampling=RoISampling(end_offset=0, least_cells=1.0, dense=False),
        mask_rcnn_upsampling="bilinear", masks_over="touched pixels"),
    "torchvision": BoxStyle(
        resized_as="float32", padding="mean", scaled_by_sides=True, scaled_end_offset=1,
        centered_anchors=False, rounded_anchors=True, spread_anchors=True,
        clipped_to_image=True, clipped_end_offset=1, least_decoded_side=0.0, least_proposal_side=1e-3,
        least_detection_side=1e-2, nms_end_offset=1,
        roi_sampling=_TORCHVISION_ROIS, mask_rcnn_roi_sampling=_TORCHVISION_ROIS,
        mask_rcnn_upsampling="nearest", masks_over="grown pixels"),
    # mmdetection drops boxes without an area only; torchvision's limits, a hundredth of a pixel and less, do as well.
    "mmdet": BoxStyle(
        resized_as="uint8", padding="mean", scaled_by_sides=True, scaled_end_offset=1,
        centered_anchors=False, rounded_anchors=False, spread_anchors=False,
        clipped_to_image=True, clipped_end_offset=1, least_decoded_side=0.0, least_proposal_side=1e-3,
        least_detection_side=1e-2, nms_end_offset=1,
        roi_sampling=_MMDET_ROIS, mask_rcnn_roi_sampling=_MMDET_ROIS,
        mask_rcnn_upsampling="nearest", masks_over="box"),
}
BOX_STYLES["detectron2"] = replace(BOX_STYLES["mmdet"], resized_as="pillow")
