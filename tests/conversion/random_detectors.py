"""What the tests of whole detectors share: pictures, random weights that find things, and the comparison."""
from __future__ import annotations

from pathlib import Path

import numpy as np
from mindspore import Tensor

from src.checkpoint import Weights
from src.command_line import load_config
from src.conversion.convert import choose_naming, convert
from src.conversion.detectors import detector_namings
from src.data.shapes import draw_image
from src.evaluation.predictor import Predictor, network_runner
from src.models import build_detector
from src.ops.masks import bitmap

CONFIG = Path(__file__).resolve().parents[2] / "config"
SIDES = (128, 192)  # of a picture: the shorter, and at most the longer; the canvas is a square of the longer
PROPOSALS = 100  # fewer than the detectors have by default, for the time
FINEST = 14  # the small pictures have RoIs of all levels with it
TWO_STAGE_FLAGS = ["--rpn_nms_pre", str(PROPOSALS), "--rpn_max_num", str(PROPOSALS), "--img_height", str(SIDES[1]),
                   "--img_width", str(SIDES[1]), "--resize_sides", f"{SIDES[0]},{SIDES[1]}",
                   "--roi_align_finest_scale", str(FINEST)]
PICTURES, EQUAL_PICTURES = 24, 20


def pictures(count: int = PICTURES) -> list:
    """Of several sizes, wide and high ones."""
    sizes = np.random.default_rng(0).integers(90, 260, (count, 2))
    return [draw_image(tuple(map(int, size)), np.random.default_rng(seed))[0] for seed, size in enumerate(sizes)]


def spread_outputs(run, spreads: dict) -> None:
    """Scale the weights of layers so that their outputs in a run have these standard deviations, as far as the layers
    do not feed each other; give them in the order in which they do."""
    outputs = {layer: [] for layer in spreads}
    hooks = [layer.register_forward_hook(lambda layer, _inputs, output: outputs[layer].append(output.flatten()))
             for layer in spreads]
    run()
    for hook in hooks:
        hook.remove()
    for layer, spread in spreads.items():
        parts = outputs[layer]
        layer.weight.mul_(spread / parts[0].new_tensor(np.concatenate([part.numpy() for part in parts])).std())


def ours(model, classes: list, config: str, flags: list, source: str = "") -> Predictor:
    """The Predictor of our detector with the weights of a module of PyTorch, or with such arrays. source: what the
    names are recognised as; without it the end of the name of the configuration."""
    arrays = model if isinstance(model, dict) else {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    detector = build_detector(load_config(["--config_path", str(CONFIG / config), *flags], "eval"), classes)
    network = detector.network().set_train(False)
    parameters, weights = network.parameters_dict(), Weights(arrays, Path("detector.pth"))
    naming = choose_naming(weights, detector_namings(detector, network), parameters, None)
    conversion = convert(weights, naming, {name: tuple(value.shape) for name, value in parameters.items()})
    assert not conversion.missing and naming.content == "detector"
    assert naming.source == (source or config[:-5].rpartition("_")[2])
    for name, array in conversion.arrays.items():
        parameters[name].set_data(Tensor(np.ascontiguousarray(array)))
    return Predictor(detector, network_runner(detector.inference(network)), 1)


def assert_same_detections(have: list, wanted: list, least: float = 0.99, whole: int = EQUAL_PICTURES) -> list:
    """Boxes within 0.1 pixel and scores within 1e-3: of every detection of `whole` pictures, and of `least` of all.

    have: Detections. wanted: (boxes, scores, labels) as of Detections. Those that differ are ties but for rounding:
    random features are rough, and a change of the pictures by 1e-6, of what their values are between 0 and 1, changes
    up to one of 200 of torchvision's own detections by more than this.
    Returns the pairs (picture, its wanted detection, ours) that agree.
    """
    scores, labels = (np.concatenate([want[column] for want in wanted]) for column in (1, 2))
    assert len(scores) > 20 * PICTURES and np.ptp(scores) > 0.5 and len(set(labels)) >= 8
    pairs, agreed = [], []
    for picture, (one, (boxes, scores, labels)) in enumerate(zip(have, wanted)):
        same = (np.abs(boxes[:, None] - one.boxes).max(axis=2) < 0.1) & (labels[:, None] == one.labels)
        same &= np.abs(scores[:, None] - one.scores) < 1e-3
        pairs += [(picture, *pair) for pair in np.argwhere(same)]
        # The last ones could as well have been the first that is cut off.
        agreed.append(same.any(axis=1)[scores > scores[-1] + 1e-3])
    assert np.concatenate(agreed).mean() > least and sum(found.all() for found in agreed) >= whole
    return pairs


def assert_same_masks(have: list, masks: list, pairs: list) -> None:
    """masks: per picture (N, height, width) bool."""
    differing = []
    for picture, number, match in pairs:
        mask, wanted = bitmap(have[picture].masks[match], *masks[picture].shape[1:]), masks[picture][number]
        differing.append((mask != wanted).sum() / max(1, (mask | wanted).sum()))
    # A box that differs by the last bit can begin with another pixel; then its mask is stretched a little differently.
    assert len(differing) > 20 * PICTURES and np.mean(np.array(differing) < 0.01) > 0.97
