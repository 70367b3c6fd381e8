"""Where boxes end with the image, its size is an input of the network: no colour of the image changes it."""
from __future__ import annotations

import numpy as np
import pytest
from mindspore import Tensor, nn

from src.command_line import load_config
from src.models import build_detector

pytestmark = pytest.mark.usefixtures("pynative")

RNG = np.random.default_rng(0)
SIDE = 64
SIZES = np.float32([[40, 64], [64, 24]])  # of the two images of a batch, on the canvas


class FixedNetwork(nn.Cell):
    """Gives the same outputs for every image; deltas are large, so that most boxes reach beyond the image."""

    def __init__(self, anchors, rois: int):
        super().__init__()
        self.outputs = [(Tensor(RNG.standard_normal((2, len(level))).astype("f4")),
                         Tensor(RNG.standard_normal((2, len(level), 4)).astype("f4"))) for level in anchors]
        self.heads = [Tensor(RNG.standard_normal(shape).astype("f4")) for shape in ((2, rois, 3), (2, rois, 3, 4))]

    def construct(self, _images):
        objectness, deltas = zip(*self.outputs)
        return (), objectness, deltas

    def boxes(self, _levels, _rois):
        return tuple(self.heads)


def detector_of(style: str):
    flags = {"model_name": "faster_rcnn_resnet50", "img_width": SIDE, "img_height": SIDE, "rpn_max_num": 20,
             "anchor_scales": 2, "box_style": style}
    return build_detector(load_config([f"--{key}={value}" for key, value in flags.items()], "eval"), ("cat", "dog"))


def boxes_of(inference, images: np.ndarray, sizes: np.ndarray) -> list:
    boxes, _, valid = (output.asnumpy() for output in inference(Tensor(images), Tensor(sizes)))
    return [rows[taken[:, 0]] for rows, taken in zip(boxes, valid)]


@pytest.mark.parametrize("style", ["torchvision", "mmdet"])
def test_rows_of_the_mean_colour_change_nothing(style):
    """Normalised, the mean is 0 like the padding: first an image of noise, then one whose first rows and columns are 0,
    then one that is 0 everywhere."""
    detector = detector_of(style)
    inference = detector.inference(FixedNetwork(detector.anchors, detector.config.model.rpn_max_num))
    noise = RNG.standard_normal((2, 3, SIDE, SIDE)).astype("f4")
    bordered = noise.copy()
    bordered[:, :, :5], bordered[:, :, :, :5] = 0, 0

    wanted = boxes_of(inference, noise, SIZES)

    for (height, width), rows in zip(SIZES, wanted):  # the last pixel is included
        assert len(rows) > 10 and rows[:, 2].max() == width - 1 and rows[:, 3].max() == height - 1
    for images in (bordered, np.zeros_like(noise)):
        for one, other in zip(boxes_of(inference, images, SIZES), wanted):
            np.testing.assert_array_equal(one, other)


def test_the_second_input_is_the_size_of_the_image_on_the_canvas():
    detector = detector_of("torchvision")
    _, placement = detector.preprocess(np.zeros((50, 100, 3), np.uint8))
    (size,) = detector.further_inputs(placement)
    assert detector.input_names == ("images", "image_sizes")
    assert size.dtype == np.float32 and size.tolist() == [32, 64]


def test_the_zoo_s_style_has_one_input():
    detector = detector_of("zoo")
    _, placement = detector.preprocess(np.zeros((50, 100, 3), np.uint8))
    assert detector.input_names == ("images",) and detector.further_inputs(placement) == ()
