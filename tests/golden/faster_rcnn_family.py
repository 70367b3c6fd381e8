"""What the tests of Faster R-CNN's golden numbers share: the detector, its network, and the batch of loss.npz."""
from __future__ import annotations

import numpy as np
from golden import Golden
from mindspore import Tensor, nn

from src.command_line import load_config
from src.faster_rcnn.detector import FasterRCNNDetector

SIZES = ((192, 320), (96, 160), (48, 80), (24, 40), (12, 20))  # of the levels at 768 x 1280


def detector_of(model_name: str, *flags: str) -> FasterRCNNDetector:
    """The detector of the configuration that is shipped, for 80 classes."""
    config = load_config(["--model_name", model_name, *flags], "train")
    return FasterRCNNDetector(config, [f"class {index}" for index in range(80)])


def network_of_the_recipe(detector: FasterRCNNDetector, golden: Golden) -> nn.Cell:
    """The network with the weights the numbers were measured with."""
    network = detector.network()
    parameters = network.parameters_dict()
    for key, shape, _ in golden.parameters():
        parameters[detector.from_zoo(key)].set_data(Tensor(golden.value(key, shape)))
    return network


class FirstOnes:
    """Takes the place of the random generator: the first candidates are drawn, as when the numbers were measured."""

    def choice(self, candidates, count, replace):  # noqa: ARG002
        return np.arange(count)


def falling(count: int) -> Tensor:
    """Priorities (1, count) that draw the first candidates."""
    return Tensor(np.linspace(1, 0, count, endpoint=False, dtype=np.float32)[None])


def padded(boxes: np.ndarray, labels: np.ndarray, rows: int = 128) -> tuple:
    """Objects of one picture as a batch: (1, rows, 4) and (1, rows)."""
    all_boxes, all_labels = np.zeros((1, rows, 4), np.float32), np.zeros((1, rows), np.int32)
    all_boxes[0, :len(boxes)], all_labels[0, :len(boxes)] = boxes, labels
    return Tensor(all_boxes), Tensor(all_labels)


def loss_targets(detector: FasterRCNNDetector, measured: dict) -> list:
    """Everything but the picture that the loss of loss.npz takes."""
    anchors = detector.train_transform().anchors(measured["gt.boxes_xyxy"], FirstOnes())
    model = detector.config.model
    return [*(Tensor(anchors[name][None]) for name in ("anchor_index", "anchor_labels", "anchor_boxes")),
            *padded(measured["gt.boxes_xyxy"], measured["gt.labels"]),
            falling(model.num_gts + model.rpn_proposal_max_num)]


def farthest_row(rows: np.ndarray, labels: np.ndarray, wanted: np.ndarray, wanted_labels: np.ndarray) -> float:
    """Largest difference between a wanted row and the nearest row of the same label."""
    return max(float(np.abs(rows[labels == label] - row).max(axis=1).min(initial=np.inf))
               for row, label in zip(wanted, wanted_labels))
