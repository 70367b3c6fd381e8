"""Models exported with --with_postprocess True: resized image in, detections out.

The ONNX file normalises the image and decodes the outputs of the network, as `preprocess` and `postprocess` of the
family do. What remains outside is the resizing, which no operator of ONNX computes bit for bit as OpenCV does, and the
stretching of masks, whose size depends on the image.
"""
from __future__ import annotations

from typing import Any, NamedTuple, Sequence

import numpy as np

from src.ops.detections import Detections

LAYOUT = "NHWC"     # of the input; in the description file it tells these models from others, whose layout is NCHW
IMAGE_SIZE = "original_size"    # the last input


class SeenImage(NamedTuple):
    """An image of (height, width), and the family's geometry of it."""

    size: tuple[int, int]
    geometry: Any


def is_postprocessed(description: dict) -> bool:
    """Whether a model's description file says that it was exported with its post-processing."""
    return description.get("input", {}).get("layout") == LAYOUT


class PostprocessedDetector:
    """A family's detector as a Predictor runs such a model; everything else is the detector's.

    Raises ConfigError if the family cannot be exported that way, or not with these settings.
    """

    ranked_by = 4       # column of the score in the detections

    def __init__(self, detector: Any):
        detector.check_decoding()
        self.detector = detector
        self.input_names = (*detector.input_names, IMAGE_SIZE)
        self.output_names = ("detections", "masks") if detector.with_masks else ("detections",)

    @property
    def image_type(self) -> str:
        """numpy's name of the type of the images that the model takes."""
        resized_as = self.detector.export_description()["input"].get("resized_as")
        return "float32" if resized_as == "float32" else "uint8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, SeenImage]:
        """Image (h, w, 3) uint8 RGB -> (resized image (H, W, 3) RGB, what `postprocess` needs)."""
        return self.detector.canvas(image), self.geometry(image.shape[0], image.shape[1])

    def geometry(self, height: int, width: int) -> SeenImage:
        """What `preprocess` returns for an image of this size."""
        return SeenImage((height, width), self.detector.geometry(height, width))

    def further_inputs(self, geometry: SeenImage) -> tuple[np.ndarray, ...]:
        """The network's, and the size of the original image."""
        return (*self.detector.further_inputs(geometry.geometry), np.array(geometry.size, np.float32))

    def views(self, image: np.ndarray, one_shape: bool = False) -> list:  # noqa: ARG002 (there is one shape only)
        """The only (resized image, geometry)."""
        return [self.preprocess(image)]

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: SeenImage) -> Detections:
        """Outputs of the model for one image -> its detections."""
        rows = outputs[0]
        is_detection = rows[:, 4] > 0
        kept = rows[is_detection]
        found = Detections(kept[:, :4], kept[:, 4], kept[:, 5].astype(np.int32))
        return self.detector.with_pasted_masks(found, outputs[1][is_detection], geometry.geometry) \
            if self.detector.with_masks else found

    def postprocess_views(self, outputs: Sequence[Sequence[np.ndarray]],
                          geometries: Sequence[SeenImage]) -> Detections:
        """Outputs and geometry of the only view -> the detections of the image."""
        (of_the_only_view,), (geometry,) = outputs, geometries
        return self.postprocess(of_the_only_view, geometry)

    def built_in(self) -> dict:
        """{name: value} of the settings that the exported file computes with."""
        values = self.detector.config.values()
        return {**self.detector.built_in(), **{name: values[name] for name in self.detector.decoding_settings}}

    def export_description(self) -> dict:
        """The family's part of the description file; images are taken as they are, so mean is 0 and std 1."""
        said = self.detector.export_description()
        kept = {name: value for name, value in said["input"].items() if name != "padding"}
        masks = {"masks": said["masks"]} if self.detector.with_masks else {}
        return {"input": {**kept, "layout": LAYOUT, "channels": "RGB", "mean": [0.0] * 3, "std": [1.0] * 3},
                "detections": "x1, y1, x2, y2 in pixels of the original image, score, class from 0, best first; rows "
                              "without a detection are 0, 0, 0, 0, 0, -1", **masks}
