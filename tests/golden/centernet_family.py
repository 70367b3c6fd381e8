"""What the tests of the CenterNet family share: detector, network with the recipe's weights, the golden batch."""
from __future__ import annotations

import numpy as np
import recipe
from golden import Golden
from mindspore import Tensor, nn

from src.centernet.detector import CenterNetDetector
from src.centernet.targets import Targets
from src.command_line import load_config

PLAIN = ("--up_sampling", "plain")


def detector_of(model: str, *flags: str, classes: int = 80) -> CenterNetDetector:
    """The detector of the configuration that is shipped."""
    return CenterNetDetector(load_config(["--model_name", model, *flags], "train"),
                             [f"class {index}" for index in range(classes)])


def network_of_the_recipe(detector: CenterNetDetector, golden: Golden) -> nn.Cell:
    """The network with the weights the numbers were measured with."""
    network = detector.network()
    parameters = network.parameters_dict()
    for key, shape, _ in golden.parameters():
        parameters[detector.from_zoo(key)].set_data(Tensor(golden.value(key, shape)))
    return network


def truth(measured: dict) -> tuple:
    """Boxes in pixels of the 640 x 480 picture and 0-based labels of the golden samples."""
    return measured["gt.boxes_xyxy"], measured["gt.category_1based"] - 1


def as_sample(boxes: np.ndarray, labels: np.ndarray) -> dict:
    """What the loader hands to a transform."""
    return {"boxes": boxes, "labels": labels, "crowd": np.zeros(len(labels), bool)}


class Draws:
    """Takes the place of the random generator in training: the whole picture, flipped or not."""

    def __init__(self, flipped: bool):
        self.flipped = flipped

    def choice(self, _scales):
        return 1.0

    def integers(self, low, high):
        return (low + high) // 2

    def random(self):
        return 0.0 if self.flipped else 0.9


class SeededLikeTheZoo:
    """The draws of numpy's old global generator behind the names of the new one."""

    def __init__(self, seed: int):
        state = np.random.RandomState(seed)
        self.choice, self.integers, self.random = state.choice, state.randint, state.random_sample


def heatmap(measured: dict, name: str) -> np.ndarray:
    """The stored heat map `name`, of which only the cells above 0 are kept."""
    full = np.zeros(measured.get(f"{name}.hm_shape", (80, 128, 128)), np.float32)
    full[tuple(measured[f"{name}.hm_nonzero_index"].T)] = measured[f"{name}.hm_nonzero_value"]
    return full


def training_batch(golden: Golden) -> tuple:
    """Two pictures (2, 512, 512, 3) uint8 and their Targets, the batch of loss.npz and train_step.npz."""
    anchors, loss = Golden("centernet_resnet50").read("anchors"), golden.read("loss")
    pictures = np.stack([recipe.image(512, 512, seed) for seed in (1, 2)])
    rows = [Targets(heatmap(source, name), source[f"{name}.ind"], source[f"{name}.wh"], source[f"{name}.reg"],
                    source[f"{name}.reg_mask"].astype(np.float32))
            for source, name in ((anchors, "target.flip0"), (loss, "target2"))]
    return pictures, Targets(*(np.stack(arrays) for arrays in zip(*rows)))
