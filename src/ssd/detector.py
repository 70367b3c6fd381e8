"""The SSD family assembled from a configuration: what the entry points talk to."""
from __future__ import annotations

from functools import cached_property
from typing import Sequence

import numpy as np

from src.backbones.zoo_names import renamed
from src.errors import ConfigError
from src.ops.detections import Detections
from src.ssd.decode import decode
from src.ssd.legacy import FILTER_WORDS, NOT_FROM_IMAGENET, imagenet_cells, zoo_cells
from src.ssd.priors import MAPS, feature_sizes, prior_boxes
from src.ssd.targets import TargetEncoder
from src.ssd.transforms import TrainTransform, eval_input


class SSDDetector:
    """Everything that depends on both the settings and the classes; networks are built when asked for.

    config: SSDConfig. classes: names without background, in label order. Raises ConfigError where settings that are
    only expectations (num_ssd_boxes, feature_size) are not met.
    """

    mindrecord_prefix = "ssd.mindrecord"
    checkpoint_prefix = "ssd"
    with_masks = False
    ranked_by = None  # rows are prior boxes, in their own order
    max_objects = None  # the loss takes any number
    input_names = ("images",)
    output_names = ("boxes", "scores")
    not_from_imagenet = NOT_FROM_IMAGENET

    def __init__(self, config, classes: Sequence[str]):
        self.config = config
        self.classes = tuple(classes)
        self.priors = prior_boxes(config.model)
        self.dropout_shape = _dropout_shape(config.model)
        self.batch_columns = ("image", "deltas", "classes") + (("dropout",) if self.dropout_shape else ())
        self.mean, self.std = (255 * np.array(values, np.float32) for values in (config.data.mean, config.data.std))

    @property
    def as_torchvision(self) -> bool:
        """Whether everything is done as in torchvision's ssd300_vgg16."""
        return self.config.model.ssd_style == "torchvision"

    @property
    def input_shape(self) -> tuple:
        """Of one picture: channels, height, width."""
        return (3, *self.config.model.img_shape)

    def train_transform(self) -> TrainTransform:
        model, data = self.config.model, self.config.data
        encoder = TargetEncoder(self.priors, model.match_threshold, model.prior_scaling)
        return TrainTransform(model.img_shape, encoder, flip_prob=data.flip_prob, color_jitter=data.color_jitter,
                              crop_tries=data.crop_tries, zoom_out=data.zoom_out,
                              dropout_shape=self.dropout_shape)

    def network(self):
        from src.ssd.network import build_ssd

        return build_ssd(self.config.model, len(self.classes))

    def inference(self, network):
        """The Cell that is evaluated and exported: (B, 3, H, W) -> the tensors of output_names."""
        from src.ssd.network import SSDInference

        return SSDInference(network, self.priors.centers, self.config.model.prior_scaling,
                            exclusive=self.as_torchvision)

    def loss(self, network):
        """The Cell that is trained: (images, *batch_columns[1:]) -> losses named by its `parts`.

        Raises ConfigError for the style of torchvision, whose scores this loss does not suit.
        """
        from src.ssd.loss import SSDLoss

        model = self.config.model
        if self.as_torchvision:
            raise ConfigError("ssd_style torchvision is for weights that are trained already: its scores exclude each "
                              "other, those of the loss here do not; train with --ssd_style zoo")
        return SSDLoss(network, len(self.classes), model.alpha, model.gamma, model.background_loss)

    def filtered_parameters(self) -> tuple:
        """Beginnings of the parameters that transfer training leaves out, from checkpoint_filter_list."""
        return tuple(FILTER_WORDS.get(name) or self.from_zoo(name) or name
                     for name in self.config.model.checkpoint_filter_list)

    @cached_property
    def _zoo_cells(self) -> dict:
        return zoo_cells(self.config.model)

    @cached_property
    def _imagenet_cells(self) -> dict:
        return imagenet_cells(self.config.model)

    def from_zoo(self, name: str) -> str | None:
        """Our name of a parameter in a checkpoint of the old zoo; None for what is not a parameter of the network."""
        return renamed(name, self._zoo_cells)

    def from_imagenet(self, name: str) -> str | None:
        """Our name of a parameter in the file of feature_extractor_base_param."""
        return renamed(name, self._imagenet_cells)

    def preprocess(self, image: np.ndarray) -> tuple:
        """Decoded picture -> (network input (3, H, W), geometry for `postprocess`)."""
        # torchvision resizes numbers.
        image = image.astype(np.float32) if self.as_torchvision else image
        return eval_input(image, self.config.model.img_shape, self.mean, self.std), self.geometry(*image.shape[:2])

    def geometry(self, height: int, width: int) -> tuple:
        """Of a picture of this size: what `postprocess` needs to get from the network's boxes to its pixels."""
        return height, width

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: tuple) -> Detections:
        """Outputs of one picture, without the batch axis -> its detections."""
        settings = self.config.eval
        return decode(*outputs, geometry, min_score=settings.min_score, nms_threshold=settings.nms_threshold,
                      max_boxes=settings.max_boxes, max_per_image=settings.max_per_image,
                      candidates_per_class=settings.nms_candidates, end_offset=0 if self.as_torchvision else 1)

    def sidecar(self) -> dict:
        """What somebody who runs the exported file needs to know about its input."""
        return {"input": {"layout": "NCHW", "channels": "RGB", "height": self.input_shape[1],
                          "width": self.input_shape[2], "keep_ratio": False,
                          "resized_as": "float32" if self.as_torchvision else "uint8",
                          "mean": self.mean.tolist(), "std": self.std.tolist()},
                "boxes": "y1, x1, y2, x2 relative to the picture", "scores": "column 0 is background"}


def _dropout_shape(model) -> tuple:
    """Of the factors that VGG16's dropout takes per picture: fc6 and fc7, the channels and cells of the second map."""
    if model.model_name != "ssd_vgg16":
        return ()
    return (2, model.extras_out_channels[1], *feature_sizes(MAPS[model.model_name], model.img_shape, 2)[1])
