"""The contract of a family: every member that the rest of the project uses of a detector.

A family is a package in src with a `Config` and a `Detector` of its own; docs/development.md lists its files. Importing
this module does not import MindSpore, and the module of a family's detector must not either: networks are built late.
"""
from __future__ import annotations

import abc
from functools import cached_property
from typing import Any, NamedTuple, Sequence

import numpy as np

from src.backbones.table import Backbone
from src.backbones.zoo_names import renamed
from src.checkpoint import FIT_ADVICE
from src.errors import ConfigError
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor


class Stage(NamedTuple):
    """Settings of which the audit tries one after the other. unmatched: fraction of objects without a prior, averaged
    over the classes, below which none of them is tried."""

    options: list[dict]
    unmatched: float = 0.0


class Detector(abc.ABC):
    """The parts that depend on settings and classes: network, loss, transforms, decoding, names of parameters.

    config: the family's Config. classes: names without background, in label order.
    Raises ConfigError if settings contradict each other.
    """

    # Every family must define these.
    mindrecord_prefix: str   # beginning of the names of its MindRecord files
    checkpoint_prefix: str   # beginning of the names of its checkpoints
    output_names: tuple      # names of the tensors that `inference` returns, and of an exported file's outputs
    batch_columns: tuple     # arrays of a training sample, in the order that `loss` takes them; the first is "image"
    mean: np.ndarray         # (3,) float32, 0..255, in the order of the network's colours
    std: np.ndarray          # (3,) float32, 0..255, in the order of the network's colours

    with_masks: bool = False           # needs and predicts instance masks
    ranked_by: int | None = None       # for outputs sorted by score: column of the score in the joined outputs
    filter_words: dict = {}            # entry of the zoo's checkpoint_filter_list -> beginning of our names
    not_from_imagenet: tuple = ()      # beginnings of names: classifiers in ImageNet files, and our layers they lack
    # Names of the settings that weights cannot do without: layers, how images are scaled, where anchors lie, what boxes
    # are encoded with. Many of them change the numbers and the shape of no parameter, so nothing else would tell.
    # Thresholds and limits of detections are a matter of choice and do not belong here.
    trained_settings: tuple = ("backbone_style",)
    max_objects_setting: str | None = None  # that max_objects comes from
    least_steps: int = 1000            # of a training from scratch on little data
    enough_priors: int = 1             # for each object; one with fewer is learned slowly
    decided_by_zoo: tuple = ()         # names of the settings that settings_of_zoo may give
    built_in_settings: tuple = ()      # names of further settings that `inference`, so an exported file, computes with
    decoding_settings: tuple = ()      # names of those that `add_decoding` computes with
    fit_advice: str = FIT_ADVICE       # end of the message when a checkpoint does not fit the network
    results_title: str = ""            # line above the results of an evaluation; {data} stands for the data

    def __init__(self, config, classes: Sequence[str]):
        self.config = config
        self.classes = tuple(classes)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the tensors that `inference` takes, and of an exported file's inputs."""
        return ("images",)

    @property
    def max_objects(self) -> int | None:
        """Largest number of objects per image that the loss uses; None = all."""
        return None

    @property
    def layers_as(self) -> str | None:
        """Detector of other libraries with the same layers: a row of src/conversion."""
        return None

    # Images

    @property
    @abc.abstractmethod
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the images that an exported network takes."""

    @abc.abstractmethod
    def train_transform(self, augment: bool = True):
        """The transform that makes a training sample, in numpy.

        A callable (image (h, w, 3) uint8 RGB, target, random generator) -> {column: array} with the batch_columns.
        "image" is (H, W, 3) uint8 and is normalised on the device by mean and std. target: "boxes" (G, 4) float32 x1,
        y1, x2, y2 in pixels, "labels" (G,), "crowd" (G,) bool, "segments" (polygons or run lengths) if with_masks.
        augment: False leaves out what is random in the image and in the network, for the loss of a validation split.
        """

    @abc.abstractmethod
    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, Any]:
        """Image (h, w, 3) uint8 RGB -> (network input (3, *input_size) float32; geometry for `postprocess`)."""

    @abc.abstractmethod
    def geometry(self, height: int, width: int) -> Any:
        """The geometry that `preprocess` returns for an image of this size; only the family uses its content."""

    def further_inputs(self, geometry: Any) -> tuple[np.ndarray, ...]:  # noqa: ARG002 (for families that override it)
        """The network's inputs besides the image, one array for each further name of input_names.

        geometry: of the image.
        """
        return ()

    @abc.abstractmethod
    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Any) -> Detections:
        """Outputs of one image, without the batch axis -> its detections, in pixels of the original image."""

    def views(self, image: np.ndarray, one_shape: bool = False) -> list:  # noqa: ARG002 (for families that override it)
        """The (network input, geometry) pairs with which one image is evaluated; by default the result of `preprocess`.

        one_shape: every input must have input_size, as for exported files.
        """
        return [self.preprocess(image)]

    def postprocess_views(self, outputs: Sequence[Sequence[np.ndarray]], geometries: Sequence) -> Detections:
        """Outputs and geometry of all views of one image -> its detections."""
        (of_the_only_view,), (geometry,) = outputs, geometries
        return self.postprocess(of_the_only_view, geometry)

    # What the audit asks, to advise settings; boxes (G, 4) are x1, y1, x2, y2 in pixels of an image of that size

    @property
    def finest_stride(self) -> int:
        """Input pixels per cell of the finest map that predicts objects."""
        return min(self.backbone.strides)

    def on_input(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        """The boxes in pixels of the training input, without augmentation; (G, 4). Stretched by default."""
        rows, columns = self.input_size
        return boxes * np.tile([columns / width, rows / height], 2)

    def matches(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray | None:  # noqa: ARG002
        """(G,) number of priors or anchors that each box is matched with in training; None for a family without."""
        return None

    def priors_to_try(self) -> list[Stage]:
        """Other priors or anchors, in the order in which they are tried."""
        return []

    def larger_input(self) -> dict:
        """The settings of an input of twice the sides; empty where it is fixed."""
        return {}

    def augmentation_for(self, smallest: float) -> dict:  # noqa: ARG002 (for families that override it)
        """{setting of the augmentation: value}. smallest: typical side of the objects of the smallest class, as a
        fraction of the image's."""
        return {}

    # Networks

    @abc.abstractmethod
    def network(self):
        """A new Cell with all parameters, randomly initialised. Its backbone is the attribute `backbone`."""

    @abc.abstractmethod
    def inference(self, network):
        """The Cell that is evaluated and exported: tensors input_names -> tensors output_names.

        The first input is (B, 3, H, W) float32, normalised; the others have a row for each image.
        It shares the parameters of `network`, under the same names.
        """

    @abc.abstractmethod
    def loss(self, network):
        """The Cell that is trained: (images (B, 3, H, W) normalised, *batch_columns[1:]) -> scalars, the total loss
        first; its attribute `parts` has their names."""

    # Checkpoints

    def conditions(self) -> dict:
        """{name: value} of the trained_settings, mean and std; where one has no effect it may be left out.

        Every checkpoint carries what its weights were trained with, every description file what its model was exported
        with; see src/conditions.py.
        """
        values = self.config.values()
        return {"mean": (self.mean / 255).tolist(), "std": (self.std / 255).tolist(),
                **{name: values[name] for name in self.trained_settings}}

    def built_in(self) -> dict:
        """{name: value} of the built_in_settings, which are fixed in an exported model."""
        values = self.config.values()
        return {name: values[name] for name in self.built_in_settings}

    @property
    def backbone(self) -> Backbone:
        """The row of src/backbones/table.py for the network's attribute `backbone`."""
        return self.config.model.backbone

    def zoo_cells(self) -> dict:
        """{name of a cell in the old zoo's checkpoints: ours}; empty if there are no such checkpoints."""
        return {}

    @classmethod
    def settings_of_zoo(cls, arrays: dict) -> dict:  # noqa: ARG003 (for families that override it)
        """{setting: value} that a checkpoint of the old zoo needs, recognised by its names and shapes.

        arrays: by the names in the file; empty for a checkpoint that is not the zoo's.
        """
        return {}

    def imagenet_cells(self) -> dict:
        """{name of a cell in the file of feature_extractor_base_param: ours}."""
        return self.backbone.zoo_cells()

    @cached_property
    def _zoo_cells(self) -> dict:
        return self.zoo_cells()

    @cached_property
    def _imagenet_cells(self) -> dict:
        return self.imagenet_cells()

    def from_zoo(self, name: str) -> str | None:
        """Our name of an entry in a checkpoint of the old zoo; None if it is not a parameter of the network."""
        return renamed(name, self._zoo_cells)

    def from_imagenet(self, name: str) -> str | None:
        """Our name of an entry in the file of feature_extractor_base_param; None if it is not a parameter."""
        return renamed(name, self._imagenet_cells)

    def filtered_parameters(self) -> tuple[str, ...]:
        """Beginnings of the parameter names that transfer training does not load, from checkpoint_filter_list."""
        return tuple(self.filter_words.get(name) or self.from_zoo(name) or name
                     for name in self.config.model.checkpoint_filter_list)

    # Exported files

    @abc.abstractmethod
    def export_description(self) -> dict:
        """The family's part of the description file beside an exported model.

        "input": how an image becomes the network's input: layout, channels, height, width, mean, std, keep_ratio; and
        a sentence about each output.
        """

    # Exported files that contain what is done before and after the network: export.py --with_postprocess True

    def check_decoding(self) -> None:
        """Raises ConfigError if the family has no post-processing in ONNX, or not with these settings."""
        raise ConfigError(f"{self.config.model.model_name} has no post-processing in ONNX; leave with_postprocess out")

    def canvas(self, image: np.ndarray) -> np.ndarray:
        """Image (h, w, 3) uint8 RGB -> (*input_size, 3) RGB, the network input before it is normalised: uint8, or
        float32 in 0..255 for a model that resizes float32 images."""
        raise NotImplementedError(f"{type(self).__name__} has no post-processing in ONNX")

    def add_decoding(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                     further_inputs: Sequence[str]) -> list[OnnxTensor]:
        """`postprocess` as ONNX operators; returns detections (N, 6), and masks (N, s, s) if with_masks.

        outputs: of the exported network. image_size: of the original image, (1, 2) float32, height and width.
        further_inputs: of the network. Rows of detections are x1, y1, x2, y2 in pixels of the original image, score and
        class, best first, then rows of NO_DETECTION.
        """
        raise NotImplementedError(f"{type(self).__name__} has no post-processing in ONNX")

    def with_pasted_masks(self, found: Detections, masks: np.ndarray, geometry: Any) -> Detections:
        """The detections with the masks (N, s, s) of `add_decoding` on the original image."""
        raise NotImplementedError(f"{type(self).__name__} predicts no masks")
