"""The smallest family that keeps the contract of src/family.py: it finds the largest object of an image."""
from __future__ import annotations

import sys
from typing import List, Optional

import cv2
import numpy as np
from mindspore import nn, ops
from pydantic import Field

from src import models
from src.backbones.table import Backbone
from src.family import Detector
from src.ops.detections import Detections
from src.settings.config import Config
from src.settings.schema import ModelSection, OptimizerSection

SIDE = 48
PATCHES = Backbone(lambda: nn.Conv2d(3, 8, 16, 16, pad_mode="valid"), channels=(8,), strides=(16,), zoo_cells=dict)


class ToyModel(ModelSection):
    feature_extractor_base_param: Optional[str] = Field(None, description="ImageNet checkpoint; none = from scratch")
    checkpoint_filter_list: List[str] = Field(["head"], description="beginnings of names that are not loaded")


class ToyOptimizer(OptimizerSection):
    def learning_rates(self, epochs: int, steps_per_epoch: int, global_batch: int) -> np.ndarray:  # noqa: ARG002
        return np.full(epochs * steps_per_epoch, 0.01, np.float32)


class ToyConfig(Config):
    model: ToyModel
    optimizer: ToyOptimizer = Field(default_factory=ToyOptimizer)


class ToyNetwork(nn.Cell):
    """construct: (B, 3, SIDE, SIDE) -> box (B, 4) x1, y1, x2, y2 as fractions of the sides, logits (B, classes)."""

    def __init__(self, classes: int):
        super().__init__()
        self.backbone = PATCHES.build()
        self.head = nn.Dense(PATCHES.channels[0] * (SIDE // PATCHES.strides[0]) ** 2, 4 + classes)

    def construct(self, images):
        rows = self.head(ops.relu(self.backbone(images)).reshape(images.shape[0], -1))
        return ops.sigmoid(rows[:, :4]), rows[:, 4:]


class ToyInference(nn.Cell):
    def __init__(self, network: ToyNetwork):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        box, logits = self.network(images)
        return box, ops.softmax(logits, -1)


class ToyLoss(nn.Cell):
    parts = ("loss", "box_loss", "cls_loss")

    def __init__(self, network: ToyNetwork):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images, box, label):
        found, logits = self.network(images)
        box_loss = ops.abs(found - box).mean()
        cls_loss = -(ops.log_softmax(logits, -1) * ops.one_hot(label, logits.shape[1], 1.0, 0.0)).sum(-1).mean()
        return box_loss + cls_loss, box_loss, cls_loss


class ToyDetector(Detector):
    mindrecord_prefix = "toy.mindrecord"
    checkpoint_prefix = "toy"
    output_names = ("box", "scores")
    batch_columns = ("image", "box", "label")
    mean = std = np.full(3, 127.5, np.float32)
    input_size = (SIDE, SIDE)
    backbone = PATCHES

    def train_transform(self, augment=True):  # noqa: ARG002 (nothing is random)
        return to_sample

    def preprocess(self, image):
        array = (cv2.resize(image, (SIDE, SIDE)) - self.mean) / self.std
        return array.transpose(2, 0, 1).astype(np.float32), self.geometry(*image.shape[:2])

    def geometry(self, height, width):
        return np.float32([width, height, width, height])

    def postprocess(self, outputs, geometry):
        box, scores = outputs
        label = np.argmax(scores)
        return Detections((box * geometry)[None], scores[[label]], np.int32([label]))

    def network(self):
        return ToyNetwork(len(self.classes))

    def inference(self, network):
        return ToyInference(network)

    def loss(self, network):
        return ToyLoss(network)

    def export_description(self):
        return {"input": {"layout": "NCHW", "channels": "RGB", "height": SIDE, "width": SIDE, "keep_ratio": False,
                          "mean": self.mean.tolist(), "std": self.std.tolist()}}


def to_sample(image: np.ndarray, target: dict, _rng) -> dict:
    height, width = image.shape[:2]
    boxes = target["boxes"] / [width, height, width, height]
    largest = np.argmax(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    return {"image": cv2.resize(image, (SIDE, SIDE)), "box": boxes[largest].astype(np.float32),
            "label": np.int32(target["labels"][largest])}


def register(monkeypatch, config_file) -> None:
    """What a new family changes in src/models.py, for the length of a test. config_file: the model's settings."""
    monkeypatch.setitem(models.FAMILIES, "toy", "Toy")
    monkeypatch.setitem(models.MODELS, "toy", models.Model("toy", str(config_file)))
    for name in ("src.toy", "src.toy.config", "src.toy.detector"):
        monkeypatch.setitem(sys.modules, name, sys.modules[__name__])
