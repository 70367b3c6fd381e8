"""What the tests of the SSD family's golden numbers share: the network, its batch and its training call."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import recipe
from golden import Golden
from mindspore import Tensor, nn

from src.command_line import load_config
from src.ssd.detector import SSDDetector


def detector_of(model: str, *flags: str) -> SSDDetector:
    """The detector of the configuration that is shipped, for 80 classes; its detections have the zoo's limits."""
    config = load_config(["--model_name", model, "--max_per_image", "none", *flags], "train")
    return SSDDetector(config, [f"class {index}" for index in range(80)])


def network_of_the_recipe(detector: SSDDetector, golden: Golden) -> nn.Cell:
    """The network with the weights the numbers were measured with."""
    network = detector.network()
    parameters = network.parameters_dict()
    for key, shape, _ in golden.parameters():
        parameters[detector.from_zoo(key)].set_data(Tensor(golden.value(key, shape)))
    return network


class Returns(nn.Cell):
    """A network that answers with given tensors."""

    def __init__(self, *answer: np.ndarray):
        super().__init__()
        self.answer = tuple(Tensor(array) for array in answer)

    def construct(self, _images):
        return self.answer


class FlipIs:
    """Takes the place of the random generator in training: no crop, and flipped or not."""

    def __init__(self, flipped: bool):
        self.draw = 0.1 if flipped else 0.9

    def random(self):
        return self.draw

    def choice(self, _overlaps):
        return None


def inference_maps(detector: SSDDetector, network: nn.Cell, cells: dict, golden: Golden) -> dict:
    """One inference call: the maps of `cells` {zoo's name: (our cell, index of its output or None)}, and the outputs
    under the zoo's names."""
    maps, ours = {}, dict(network.cells_and_names())

    def keep(name, index):
        return lambda _cell, _inputs, output: maps.update(
            {name: (output if index is None else output[index]).asnumpy()})

    hooks = [ours[cell].register_forward_hook(keep(name, index)) for name, (cell, index) in cells.items()]
    hooks.append(network.register_forward_hook(keep("network.0", 0)))
    boxes, scores = detector.inference(network).set_train(False)(Tensor(recipe.network_input(golden.model)))
    for hook in hooks:
        hook.remove()
    # In inference mode the zoo's network ends in the sigmoid, ours in logits: its second output is our scores.
    return {**maps, "network.1": scores.asnumpy(), "boxes": boxes.asnumpy(), "scores": scores.asnumpy()}


def training_batch(detector: SSDDetector, golden: Golden) -> tuple:
    """Two pictures and their targets, the batch of loss.npz and train_step.npz."""
    encoder, measured = detector.train_transform().encoder, golden.read("anchors")
    pictures = np.stack([recipe.image(*detector.input_size, seed) for seed in (1, 2)])
    truths = [measured[f"{name}.gt_yxyxc_normalised"] for name in ("encode", "encode2")]
    deltas, classes = zip(*(encoder(truth[:, :4], truth[:, 4].astype(int) - 1) for truth in truths))
    return pictures, np.stack(deltas), np.stack(classes)


def training_call(detector: SSDDetector, golden: Golden, batch: tuple) -> tuple:
    """(losses, gradient by parameter name, network) of one training call with batch statistics."""
    network = network_of_the_recipe(detector, golden)
    loss = detector.loss(network).set_train(True)
    images = np.concatenate([recipe.network_input(golden.model, seed) for seed in (1, 2)])
    call = ms.value_and_grad(lambda *arrays: loss(*arrays), None, network.trainable_params(), has_aux=True)
    losses, gradients = call(Tensor(images), Tensor(batch[1]), Tensor(batch[2]))
    names = [parameter.name for parameter in network.trainable_params()]
    return [float(part) for part in losses], dict(zip(names, (g.asnumpy() for g in gradients))), network


def as_rows(detections) -> np.ndarray:
    """x, y, w, h, score, class counted from 1: the zoo's result rows, in an order of their own."""
    corner, size = detections.boxes[:, :2], detections.boxes[:, 2:] - detections.boxes[:, :2]
    return in_order(np.column_stack([corner, size, detections.scores, detections.labels + 1]))


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort((-rows[:, 4], rows[:, 5]))]
