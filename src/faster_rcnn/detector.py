"""The Faster R-CNN family behind the contract of src/family.py, built from a configuration."""
from __future__ import annotations

from functools import cached_property
from typing import Any, Sequence

import numpy as np

from src.family import Detector, Stage
from src.faster_rcnn.anchors import pyramid_anchors
from src.faster_rcnn.decode import decode
from src.faster_rcnn.decode_onnx import add_decoding, add_scale
from src.faster_rcnn.legacy import FILTER_WORDS, NOT_FROM_IMAGENET, imagenet_cells, settings_of, zoo_cells
from src.faster_rcnn.targets import AnchorSampler
from src.faster_rcnn.transforms import MEAN, STD, Placement, TrainTransform, fit
from src.model_utils.device_adapter import chip_name, rounds_nms
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor, Ranked

# What the audit tries.
SCALES = ([2], [4], [6], [8], [12], [4, 8])
RATIOS = ([0.33, 1.0, 3.0], [0.25, 0.5, 1.0, 2.0, 4.0])


class FasterRCNNDetector(Detector):
    """The contract of src/family.py for Faster R-CNN."""

    batch_columns: tuple[str, ...] = ("image", "anchor_index", "anchor_labels", "anchor_boxes", "boxes", "labels",
                                      "priority")
    mindrecord_prefix = "FasterRcnn.mindrecord"
    checkpoint_prefix = "faster_rcnn"
    max_objects_setting = "num_gts"
    ranked_by = 4  # the column of scores, which order the rows of the outputs
    output_names: tuple[str, ...] = ("boxes", "labels", "valid")
    mean, std = MEAN, STD
    not_from_imagenet = NOT_FROM_IMAGENET
    filter_words = FILTER_WORDS
    transform_class = TrainTransform
    decided_by_zoo = ("without_bg_loss", "stem_batch_statistics")
    built_in_settings = ("rpn_nms_pre", "rpn_max_num", "rpn_nms_thr", "test_score_thr", "test_iou_thr", "test_nms_pre",
                         "test_max_per_img")
    trained_settings: tuple[str, ...] = (
        "backbone_style", "box_style", "img_height", "img_width", "keep_ratio", "resize_sides", "anchor_scales",
        "anchor_ratios", "rpn_target_stds", "rcnn_target_stds", "roi_size", "roi_align_finest_scale",
        "stem_batch_statistics", "fpn_out_channels", "rcnn_fc_out_channels", "without_bg_loss")

    def __init__(self, config, classes: Sequence[str]):
        super().__init__(config, classes)
        self.anchors = pyramid_anchors(config.model)

    @property
    def max_objects(self) -> int:
        return self.config.model.num_gts

    @property
    def input_size(self) -> tuple[int, int]:
        return self.config.model.input_size

    @property
    def input_names(self) -> tuple[str, ...]:
        """image_sizes: (B, 2) float32, height and width of every image on the canvas, to which boxes are clipped."""
        return ("images", "image_sizes") if self.config.model.style.clipped_to_image else ("images",)

    def train_transform(self, augment: bool = True) -> TrainTransform:
        model, data = self.config.model, self.config.data
        return self.transform_class(model.input_size, self._anchor_sampler, max_objects=model.num_gts,
                                    priorities=model.num_gts + model.rpn_proposal_max_num,
                                    flip_prob=data.flip_ratio if augment else 0,
                                    expand_prob=data.expand_ratio if augment else 0, **self.resizing)

    @cached_property
    def _anchor_sampler(self) -> AnchorSampler:
        model = self.config.model
        return AnchorSampler(self.anchors, model.input_size, positive_iou=model.pos_iou_thr,
                             negative_iou=model.neg_iou_thr, min_positive_iou=model.min_pos_iou,
                             samples=model.num_expected_neg, positives=model.num_expected_pos)

    def on_input(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        return self.geometry(height, width).to_canvas(boxes) + np.array([0, 0, 1, 1], np.float32)

    def matches(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        owner = self._anchor_sampler.assign(self.geometry(height, width).to_canvas(boxes))
        return np.bincount(owner[owner >= 0], minlength=len(boxes))

    def priors_to_try(self) -> list[Stage]:
        return [Stage([{"anchor_scales": scales} for scales in SCALES]),
                Stage([{"anchor_ratios": ratios} for ratios in RATIOS])]

    def larger_input(self) -> dict:
        height, width = self.input_size
        return {"img_height": 2 * height, "img_width": 2 * width}

    def network(self):
        from src.faster_rcnn.network import build_faster_rcnn

        return build_faster_rcnn(self.config.model, len(self.classes), frozen_body=self.frozen_body)

    @property
    def resizing(self) -> dict:
        """The arguments of `fit` besides image and canvas."""
        data = self.config.data
        return {"keep_ratio": data.keep_ratio, "sides": data.resize_sides, "style": self.config.model.style}

    @property
    def frozen_body(self) -> bool:
        """Whether the backbone keeps its statistics and first stage while training."""
        model = self.config.model
        starts_from_file = bool(self.config.train.pre_trained or model.feature_extractor_base_param)
        return starts_from_file if model.frozen_body is None else model.frozen_body

    def inference(self, network):
        from src.faster_rcnn.network import FasterRCNNInference

        return FasterRCNNInference(network, self.proposals(), self.detections(),
                                   clipped_to_image=self.config.model.style.clipped_to_image)

    def proposals(self):
        """The Cell that picks the RoIs of inference."""
        model = self.config.model
        return self._proposals(model.rpn_nms_pre, model.rpn_max_num, model.rpn_nms_thr)

    def detections(self):
        """The Cell that picks detections among the RoIs."""
        from src.faster_rcnn.box_head import BoxDetections

        model, settings = self.config.model, self.config.eval
        return BoxDetections(len(self.classes), model.input_size, model.rcnn_target_stds,
                             min_score=settings.test_score_thr, nms_threshold=settings.test_iou_thr,
                             candidates=settings.test_nms_pre, count=settings.test_max_per_img,
                             style=model.style, nms_by_matrix=self.nms_by_matrix)

    def loss(self, network):
        from src.faster_rcnn.loss import FasterRCNNLoss

        return FasterRCNNLoss(network, *self.loss_settings())

    def loss_settings(self) -> tuple[Any, ...]:
        """The arguments of FasterRCNNLoss besides the network."""
        from src.faster_rcnn.sampling import ProposalSampler

        model = self.config.model
        proposals = self._proposals(model.rpn_proposal_nms_pre, model.rpn_proposal_max_num, model.rpn_proposal_nms_thr)
        sampler = ProposalSampler(positive_iou=model.pos_iou_thr_stage2, negative_iou=model.neg_iou_thr_stage2,
                                  samples=model.num_expected_neg_stage2, positives=model.num_expected_pos_stage2)
        weights = (model.rpn_loss_cls_weight, model.rpn_loss_reg_weight, model.rcnn_loss_cls_weight,
                   model.rcnn_loss_reg_weight)
        return proposals, sampler, np.concatenate(self.anchors), model.rpn_target_stds, model.rcnn_target_stds, weights

    def _proposals(self, before_nms: int, count: int, nms_threshold: float):
        from src.faster_rcnn.proposals import Proposals

        model = self.config.model
        return Proposals(self.anchors, model.input_size, model.rpn_target_stds, before_nms=before_nms, count=count,
                         nms_threshold=nms_threshold, style=model.style, nms_by_matrix=self.nms_by_matrix)

    @property
    def nms_by_matrix(self) -> bool:
        """Whether boxes are suppressed without MindSpore's operator, which some chips have in float16 only."""
        chosen = self.config.runtime.nms_by_matrix
        return rounds_nms(chip_name()) if chosen is None else chosen

    @property
    def layers_as(self) -> str | None:
        return "two_stage" if self.config.model.backbone_name.startswith("resnet") else None

    @classmethod
    def settings_of_zoo(cls, arrays: dict) -> dict:
        return settings_of(arrays)

    def zoo_cells(self) -> dict:
        return zoo_cells(self.backbone)

    def imagenet_cells(self) -> dict:
        return imagenet_cells(self.backbone)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        placement = self.geometry(*image.shape[:2])
        return placement.network_input(image), placement

    def check_decoding(self) -> None:
        """Every setting can be had."""

    def canvas(self, image: np.ndarray) -> np.ndarray:
        return self.geometry(*image.shape[:2]).canvas(image)

    def add_decoding(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                     further_inputs: Sequence[str]) -> list[OnnxTensor]:
        return [self._ranked(nodes, outputs, image_size, further_inputs).detections]

    def _ranked(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                further_inputs: Sequence[str]) -> Ranked:
        (boxes, labels, valid), style = outputs[:3], self.config.model.style
        if style.scaled_by_sides:
            scale = nodes.add("Div", further_inputs[0], image_size)
        else:
            scale = add_scale(nodes, image_size, self.input_size, self.config.data.keep_ratio,
                              self.config.data.resize_sides)
        return add_decoding(nodes, boxes, labels.name, valid.name, image_size, scale,
                            end_offset=style.scaled_end_offset)

    def further_inputs(self, geometry: Placement) -> tuple[np.ndarray, ...]:
        return (np.array(geometry.resized_size, np.float32),) if self.config.model.style.clipped_to_image else ()

    def geometry(self, height: int, width: int) -> Placement:
        return fit((height, width), self.config.model.input_size, **self.resizing)

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Placement) -> Detections:
        boxes, labels, valid = outputs
        return decode(boxes, labels, valid, geometry)

    def export_description(self) -> dict:
        data, style = self.config.data, self.config.model.style
        return {"input": {"layout": "NCHW", "channels": "RGB", "height": self.input_size[0],
                          "width": self.input_size[1], "keep_ratio": data.keep_ratio, "placement": "corner",
                          "resize_sides": data.resize_sides, "padding": style.padding, "resized_as": style.resized_as,
                          "mean": self.mean.tolist(), "std": self.std.tolist()},
                "boxes": "x1, y1, x2, y2 in pixels of the input, last pixel included, and score",
                "labels": "0-based, without background", "valid": "true for rows that are detections"}
