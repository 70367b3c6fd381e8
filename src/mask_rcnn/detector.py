"""The Mask R-CNN family assembled from a configuration: what the entry points talk to."""
from __future__ import annotations

from functools import cached_property
from typing import Sequence

import numpy as np

from src.faster_rcnn.detector import FasterRCNNDetector
from src.faster_rcnn.transforms import Placement
from src.mask_rcnn.decode import decode
from src.mask_rcnn.legacy import FILTER_WORDS, zoo_cells
from src.mask_rcnn.transforms import TrainTransform
from src.ops.detections import Detections


class MaskRCNNDetector(FasterRCNNDetector):
    """That of Faster R-CNN with a third head. config: MaskRCNNConfig."""

    batch_columns = (*FasterRCNNDetector.batch_columns, "bitmaps")
    mindrecord_prefix = "MaskRcnn.mindrecord"
    checkpoint_prefix = "mask_rcnn"
    with_masks = True
    output_names = ("boxes", "labels", "valid", "masks")
    filter_words = FILTER_WORDS
    transform_class = TrainTransform

    def network(self):
        from src.mask_rcnn.network import build_mask_rcnn

        return build_mask_rcnn(self.config.model, len(self.classes), frozen_body=self.frozen_body)

    def inference(self, network):
        """The Cell that is evaluated and exported: (B, 3, H, W) -> the tensors of output_names."""
        from src.mask_rcnn.network import MaskRCNNInference

        return MaskRCNNInference(network, self.proposals(), self.detections(),
                                 clip_to_picture=self.config.model.style.exact_ends)

    def loss(self, network):
        """The Cell that is trained: (images, *batch_columns[1:]) -> losses named by its `parts`."""
        from src.mask_rcnn.loss import MaskRCNNLoss

        model = self.config.model
        return MaskRCNNLoss(network, *self.loss_settings(), positives=model.num_expected_pos_stage2,
                            mask_weight=model.rcnn_loss_mask_fb_weight)

    @cached_property
    def _zoo_cells(self) -> dict:
        return zoo_cells(self.config.model.body)

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Placement) -> Detections:
        """Outputs of one picture, without the batch axis -> its detections."""
        return decode(*outputs, geometry, self.config.eval.mask_thr_binary)

    def sidecar(self) -> dict:
        """What somebody who runs the exported file needs to know about its input and outputs."""
        shared = super().sidecar()
        return {**shared, "valid": shared["masks"], "masks": "values in 0..1, to be stretched over the box; above "
                f"{self.config.eval.mask_thr_binary} is the object"}
