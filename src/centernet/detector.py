"""The CenterNet family behind the contract of src/family.py, built from a configuration."""
from __future__ import annotations

from typing import Sequence

import cv2
import numpy as np

from src.centernet.config import STRIDE
from src.centernet.decode import Geometry, decode
from src.centernet.decode_onnx import add_decoding
from src.centernet.legacy import FILTER_WORDS, NOT_FROM_IMAGENET, TRAINING_CELL, settings_of, zoo_cells
from src.centernet.targets import TargetEncoder, Targets
from src.centernet.transforms import TrainTransform, Window, normalize, padded_window, scaled
from src.errors import ConfigError
from src.family import FIT_ADVICE, Detector
from src.ops.detections import Detections
from src.ops.onnx_nodes import OnnxNodes, OnnxTensor


class CenterNetDetector(Detector):
    """The contract of src/family.py for CenterNet."""

    batch_columns = ("image", *Targets._fields)
    mindrecord_prefix = "coco_det.train.mind"
    checkpoint_prefix = "checkpoint_centernet"
    output_names = ("detections",)
    max_objects_setting = "max_objs"
    least_steps = 2000
    ranked_by = 4  # the column of scores, which order the rows of the outputs
    not_from_imagenet = NOT_FROM_IMAGENET
    filter_words = FILTER_WORDS
    results_title = "overall performance on {data}"
    decided_by_zoo = ("up_sampling",)
    built_in_settings = ("K", "peak_tolerance", "flip_test")
    decoding_settings = ("soft_nms", "multi_scales")
    trained_settings = ("backbone_style", "up_sampling", "head_conv", "mean", "std", "keep_res",
                        "keep_res_multiple", "input_res_test")
    fit_advice = f"Checkpoints with the plain up-sampling need --up_sampling plain. {FIT_ADVICE}"

    def __init__(self, config, classes: Sequence[str]):
        super().__init__(config, classes)
        self.mean, self.std = (255 * np.array(values, np.float32) for values in (config.data.mean, config.data.std))

    @property
    def max_objects(self) -> int:
        return self.config.data.max_objs

    @property
    def input_size(self) -> tuple[int, int]:
        return self.config.eval.input_size

    @property
    def layers_as(self) -> str | None:
        return "centernet" if self.config.model.up_sampling == "deformable" else None

    def train_transform(self, augment: bool = True) -> TrainTransform:
        data = self.config.data
        map_size = [side // STRIDE for side in data.input_size]
        encoder = TargetEncoder(map_size, len(self.classes), data.max_objs)
        if not augment:
            return TrainTransform(data.input_size, encoder, rand_crop=False, shift=0, scale=0, flip_prob=0)
        lighting = (np.array(data.eig_val), np.array(data.eig_vec)) if data.color_aug else None
        return TrainTransform(data.input_size, encoder, rand_crop=data.rand_crop, shift=data.shift, scale=data.scale,
                              flip_prob=data.flip_prob, lighting=lighting)

    @property
    def finest_stride(self) -> int:
        return STRIDE

    def on_input(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        window = Window(np.array([width / 2, height / 2]), float(max(height, width)))
        factor_x, _, left, _, factor_y, top = window.matrix(self.config.data.input_size).ravel()
        return boxes * [factor_x, factor_y, factor_x, factor_y] + [left, top, left, top]

    def larger_input(self) -> dict:
        return {"input_res_train": [2 * side for side in self.config.data.input_size],
                "input_res_test": [2 * side for side in self.input_size]}

    def network(self):
        from src.centernet.network import build_centernet

        return build_centernet(self.config.model, len(self.classes))

    def inference(self, network):
        from src.centernet.network import CenterNetInference

        settings = self.config.eval
        return CenterNetInference(network, settings.K, settings.peak_tolerance, settings.flip_test)

    def loss(self, network):
        from src.centernet.loss import CenterNetLoss

        model = self.config.model
        return CenterNetLoss(network, (model.hm_weight, model.wh_weight, model.off_weight),
                             smooth=model.reg_loss == "sl1", per_coordinate=model.regression_norm == "coordinates")

    @classmethod
    def settings_of_zoo(cls, arrays: dict) -> dict:
        return settings_of(arrays)

    def zoo_cells(self) -> dict:
        return zoo_cells(self.config.model)

    def from_zoo(self, name: str) -> str | None:
        return super().from_zoo(name[len(TRAINING_CELL):] if name.startswith(TRAINING_CELL) else name)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, Geometry]:
        return self._view(image, 1.0, keep_res=False)

    def geometry(self, height: int, width: int) -> Geometry:
        window, size = self._window(height, width, 1.0, keep_res=False)
        return _geometry(window, size, 1.0)

    def postprocess(self, outputs: Sequence[np.ndarray], geometry: Geometry) -> Detections:
        return self.postprocess_views([outputs], [geometry])

    def views(self, image: np.ndarray, one_shape: bool = False) -> list:
        """One view for each of multi_scales; keep_res gives each a shape of its own unless one_shape."""
        settings = self.config.eval
        return [self._view(image, scale, settings.keep_res and not one_shape) for scale in settings.multi_scales]

    def postprocess_views(self, outputs: Sequence, geometries: Sequence[Geometry]) -> Detections:
        settings = self.config.eval
        return decode([peaks for (peaks,) in outputs], geometries, settings.K, settings.soft_nms)

    def check_decoding(self) -> None:
        scales = list(self.config.eval.multi_scales)
        if scales != [1.0]:
            raise ConfigError(f"with_postprocess sees an image once, at its own scale, and multi_scales is {scales}; "
                              "give --multi_scales 1")

    def canvas(self, image: np.ndarray) -> np.ndarray:
        window, size = self._window(image.shape[0], image.shape[1], 1.0, keep_res=False)
        return window.cut(image, size)

    def add_decoding(self, nodes: OnnxNodes, outputs: Sequence[OnnxTensor], image_size: str,
                     further_inputs: Sequence[str]) -> list[OnnxTensor]:  # noqa: ARG002 (the network has none)
        return [add_decoding(nodes, outputs[0], image_size, input_size=self.input_size,
                             soft=self.config.eval.soft_nms)]

    def _view(self, image: np.ndarray, scale: float, keep_res: bool) -> tuple[np.ndarray, Geometry]:
        height, width = image.shape[:2]
        window, size = self._window(height, width, scale, keep_res)
        geometry = _geometry(window, size, scale)
        if scale != 1:
            image = cv2.resize(image, scaled(height, width, scale)[::-1])
        shown = cv2.cvtColor(window.cut(image, size), cv2.COLOR_RGB2BGR)
        return normalize(shown, self.mean, self.std), geometry

    def _window(self, height: int, width: int, scale: float, keep_res: bool) -> tuple[Window, tuple[int, int]]:
        """The part of the scaled image that the network sees, and the (height, width) of the network input."""
        scaled_height, scaled_width = scaled(height, width, scale)
        if keep_res:
            return padded_window(scaled_height, scaled_width, self.config.eval.keep_res_multiple)
        return Window(np.array([scaled_width / 2, scaled_height / 2]), float(max(height, width))), self.input_size

    def export_description(self) -> dict:
        return {"input": {"layout": "NCHW", "channels": "BGR", "height": self.input_size[0],
                          "width": self.input_size[1], "keep_ratio": True, "placement": "center",
                          "mean": self.mean.tolist(), "std": self.std.tolist()},
                "detections": f"x1, y1, x2, y2 in cells of {STRIDE} input pixels, score, class index"}


def _geometry(window: Window, size: tuple, scale: float) -> Geometry:
    """Of a view of (height, width) on an image that was scaled."""
    cell = STRIDE * window.side / size[1]  # in pixels of the scaled image
    corner = window.center - [window.side / 2, window.side / 2 * size[0] / size[1]]
    return Geometry(cell / scale, corner / scale)
