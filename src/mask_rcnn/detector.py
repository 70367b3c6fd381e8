"""The Mask R-CNN family behind the contract of src/family.py, built from a configuration."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.faster_rcnn.detector import FasterRCNNDetector
from src.faster_rcnn.legacy import settings_of
from src.faster_rcnn.transforms import Placement
from src.mask_rcnn.decode import decode, with_pasted_masks
from src.mask_rcnn.decode_onnx import add_masks
from src.mask_rcnn.legacy import BOX_HEAD, FILTER_WORDS, zoo_cells
from src.mask_rcnn.transforms import TrainTransform
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor


class MaskRCNNDetector(FasterRCNNDetector):
    """The contract of src/family.py for Mask R-CNN: Faster R-CNN with a third head."""

    batch_columns = (*FasterRCNNDetector.batch_columns, "bitmaps")
    mindrecord_prefix = "MaskRcnn.mindrecord"
    checkpoint_prefix = "mask_rcnn"
    with_masks = True
    output_names = ("boxes", "labels", "valid", "masks")
    filter_words = FILTER_WORDS
    transform_class = TrainTransform
    trained_settings = (*FasterRCNNDetector.trained_settings, "mask_roi_size", "rcnn_mask_out_channels")

    @classmethod
    def settings_of_zoo(cls, arrays: dict) -> dict:
        return settings_of(arrays, BOX_HEAD)

    def network(self):
        from src.mask_rcnn.network import build_mask_rcnn

        return build_mask_rcnn(self.config.model, len(self.classes), frozen_body=self.frozen_body)

    def inference(self, network):
        from src.mask_rcnn.network import MaskRCNNInference

        return MaskRCNNInference(network, self.proposals(), self.detections(),
                                 clipped_to_image=self.config.model.style.clipped_to_image)

    def loss(self, network):
        from src.mask_rcnn.loss import MaskRCNNLoss

        model = self.config.model
        return MaskRCNNLoss(network, *self.loss_settings(), positives=model.num_expected_pos_stage2,
                            mask_weight=model.rcnn_loss_mask_fb_weight)

    def zoo_cells(self) -> dict:
        return zoo_cells(self.backbone)

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Placement) -> Detections:
        boxes, labels, valid, masks = outputs
        return decode(boxes, labels, valid, masks, geometry, self.config.eval.mask_thr_binary)

    def add_decoding(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                     further_inputs: Sequence[str]) -> list[OnnxTensor]:
        ranked = self._ranked(nodes, outputs, image_size, further_inputs)
        return [ranked.detections, add_masks(nodes, outputs[3], ranked)]

    def with_pasted_masks(self, found: Detections, masks: np.ndarray, geometry: Placement) -> Detections:
        return with_pasted_masks(found, masks, geometry, self.config.eval.mask_thr_binary)

    def export_description(self) -> dict:
        shared = super().export_description()
        return {**shared, "masks": "values in 0..1, to be stretched over the box; above "
                f"{self.config.eval.mask_thr_binary} is the object"}
