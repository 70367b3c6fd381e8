"""The SSD family behind the contract of src/family.py, built from a configuration."""
from __future__ import annotations

from typing import Sequence

import numpy as np

from src.errors import ConfigError
from src.family import Detector, Stage
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor
from src.ssd.decode import decode
from src.ssd.decode_onnx import add_decoding
from src.ssd.legacy import FILTER_WORDS, NOT_FROM_IMAGENET, zoo_cells
from src.ssd.priors import feature_sizes, prior_boxes, prior_settings, priors_to_try
from src.ssd.targets import TargetEncoder
from src.ssd.transforms import TrainTransform, eval_input, resize

HALF_OVERLAP = 0.7      # side of a square with half the area of another one's
MOST_ZOOM_OUT = 4.0     # as in the paper


class SSDDetector(Detector):
    """The contract of src/family.py for SSD. Raises ConfigError if settings of the priors contradict each other."""

    mindrecord_prefix = "ssd.mindrecord"
    checkpoint_prefix = "ssd"
    output_names = ("boxes", "scores")
    filter_words = FILTER_WORDS
    enough_priors = 3
    not_from_imagenet = NOT_FROM_IMAGENET
    trained_settings = ("backbone_style", "mean", "std", "img_shape", "ssd_style", "num_default", "extras_in_channels",
                        "extras_out_channels", "extras_strides", "extras_ratio", "num_addition_layers", "ssd_vgg_bn",
                        "vgg_bias", "vgg_extra_relu", "prior_scaling")

    decoding_settings = ("min_score", "nms_threshold", "nms_candidates", "max_boxes", "max_per_image")

    def __init__(self, config, classes: Sequence[str]):
        super().__init__(config, classes)
        self.priors = prior_boxes(config.model)
        self.dropout_shape = _dropout_shape(config.model)
        self.batch_columns = ("image", "deltas", "classes") + (("dropout",) if self.dropout_shape else ())
        self.mean, self.std = (255 * np.array(values, np.float32) for values in (config.data.mean, config.data.std))

    @property
    def as_torchvision(self) -> bool:
        """Whether the conventions of torchvision's ssd300_vgg16 are used."""
        return self.config.model.ssd_style == "torchvision"

    @property
    def layers_as(self) -> str | None:
        if self.as_torchvision:
            return "torchvision_ssd"
        return "tensorflow_ssdlite" if self.config.model.model_name == "ssd300" else None

    def conditions(self) -> dict:
        return {**super().conditions(), **prior_settings(self.config.model)}

    @property
    def input_size(self) -> tuple[int, int]:
        return self.config.model.input_size

    def train_transform(self, augment: bool = True) -> TrainTransform:
        model, data = self.config.model, self.config.data
        encoder = TargetEncoder(self.priors, model.match_threshold, model.prior_scaling)
        if not augment:
            return TrainTransform(model.input_size, encoder, flip_prob=0, color_jitter=(0, 0, 0), crop_tries=0,
                                  dropout_shape=self.dropout_shape, drop=False)
        return TrainTransform(model.input_size, encoder, flip_prob=data.flip_prob, color_jitter=data.color_jitter,
                              crop_tries=data.crop_tries, crop_rule=data.crop_rule, zoom_out=data.zoom_out,
                              dropout_shape=self.dropout_shape)

    @property
    def finest_stride(self) -> int:
        model = self.config.model
        return model.backbone.strides[-model.variant.maps]

    def matches(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        model = self.config.model
        encoder = TargetEncoder(self.priors, model.match_threshold, model.prior_scaling)
        return encoder.matches((boxes / np.tile([width, height], 2))[:, [1, 0, 3, 2]])

    def priors_to_try(self) -> list[Stage]:
        return priors_to_try(self.config.model)

    def larger_input(self) -> dict:
        return {"img_shape": [2 * side for side in self.input_size]}

    def augmentation_for(self, smallest: float) -> dict:
        """zoom_out with which these objects still overlap the smallest priors by half."""
        prior = float(np.sqrt(self.priors.centers[:, 2] * self.priors.centers[:, 3]).min())
        return {"zoom_out": round(min(max(smallest / (prior * HALF_OVERLAP), 1.0), MOST_ZOOM_OUT), 1)}

    def network(self):
        from src.ssd.network import build_ssd

        return build_ssd(self.config.model, len(self.classes))

    def inference(self, network):
        from src.ssd.network import SSDInference

        return SSDInference(network, self.priors.centers, self.config.model.prior_scaling,
                            exclusive=self.as_torchvision)

    def loss(self, network):
        """Raises ConfigError for torchvision's style, because this loss does not fit its scores."""
        from src.ssd.loss import SSDLoss

        model = self.config.model
        if self.as_torchvision:
            raise ConfigError("ssd_style torchvision is for weights that are trained already: its scores exclude each "
                              "other, those of the loss here do not; train with --ssd_style zoo")
        return SSDLoss(network, len(self.classes), model.alpha, model.gamma, model.background_loss)

    def zoo_cells(self) -> dict:
        return zoo_cells(self.config.model)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        return (eval_input(self._as_resized(image), self.input_size, self.mean, self.std),
                self.geometry(*image.shape[:2]))

    def _as_resized(self, image: np.ndarray) -> np.ndarray:
        """torchvision resizes numbers."""
        return image.astype(np.float32) if self.as_torchvision else image

    def geometry(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: tuple) -> Detections:
        boxes, scores = outputs
        return decode(boxes, scores, geometry, **self._decoding)

    @property
    def _decoding(self) -> dict:
        settings = self.config.eval
        return {"min_score": settings.min_score, "nms_threshold": settings.nms_threshold,
                "max_boxes": settings.max_boxes, "max_per_image": settings.max_per_image,
                "candidates_per_class": settings.nms_candidates, "end_offset": 0 if self.as_torchvision else 1}

    def check_decoding(self) -> None:
        if self.config.eval.max_per_image is None:
            raise ConfigError("with_postprocess needs a fixed number of rows; give --max_per_image, for example 100")

    def canvas(self, image: np.ndarray) -> np.ndarray:
        return resize(self._as_resized(image), self.input_size)

    def add_decoding(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                     further_inputs: Sequence[str]) -> list[OnnxTensor]:  # noqa: ARG002 (the network has none)
        boxes, scores = outputs
        return [add_decoding(nodes, boxes, scores.name, image_size, **self._decoding)]

    def export_description(self) -> dict:
        return {"input": {"layout": "NCHW", "channels": "RGB", "height": self.input_size[0],
                          "width": self.input_size[1], "keep_ratio": False,
                          "resized_as": "float32" if self.as_torchvision else "uint8",
                          "mean": self.mean.tolist(), "std": self.std.tolist()},
                "boxes": "y1, x1, y2, x2 relative to the image", "scores": "column 0 is background"}


def _dropout_shape(model) -> tuple[int, ...]:
    """Shape of the dropout factors of VGG16 per image: fc6 and fc7, channels and cells of the second map."""
    if model.variant.extra != "VGG":
        return ()
    return (2, model.backbone.channels[1], *feature_sizes(model)[1])
