"""Several views of a picture: scales, shapes and mirror images end in the same boxes."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from centernet_family import detector_of
from mindspore import Tensor, nn

from src.centernet.decode import Geometry, decode
from src.centernet.network import CenterNetInference
from src.evaluation.predictor import Predictor

BOX = np.array([40, 60, 100, 140])  # of a bright rectangle in a dark picture of (height, width)
SIZE = (240, 200)


def bright_rectangle() -> np.ndarray:
    image = np.zeros((*SIZE, 3), np.uint8)
    x1, y1, x2, y2 = BOX
    image[y1:y2, x1:x2] = 255
    return image


def find_bright(batch: np.ndarray) -> list:
    """Takes the place of a network that finds the rectangle: (B, 1, 6) in cells."""
    found = []
    for image in batch:
        rows, columns = (np.flatnonzero((image > image.min() + 1).any(axis=(0, axis))) for axis in (2, 1))
        found.append([[columns[0] / 4, rows[0] / 4, (columns[-1] + 1) / 4, (rows[-1] + 1) / 4, 0.5, 0]])
    return [np.array(found, np.float32)]


@pytest.mark.parametrize("flags, shapes", [
    ([], [(256, 256)]),
    (["--keep_res", "false", "--input_res_test", "320,480"], [(320, 480)]),
    (["--multi_scales", "0.5,1,1.5"], [(128, 128), (256, 256), (384, 384)]),
    (["--multi_scales", "1,1.7", "--keep_res", "false", "--input_res_test", "320,320"], [(320, 320), (320, 320)]),
])
def test_every_view_leads_back_to_the_picture(flags, shapes):
    detector = detector_of("centernet_resnet50", *flags, classes=1)
    views = detector.views(bright_rectangle())
    assert [view.shape[1:] for view, _ in views] == shapes
    for view, geometry in views:
        (peaks,) = find_bright(view[None])
        np.testing.assert_allclose(decode([peaks[0]], [geometry], 1, soft=True).boxes, [BOX], atol=3)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_predictor_joins_the_views_of_each_picture(batch_size):
    detector = detector_of("centernet_resnet50", "--multi_scales", "1,0.5", "--soft_nms", "false", classes=1)
    seen = []

    def run(batch):
        seen.append(batch.shape)
        return find_bright(batch)

    predictor = Predictor(detector, run, batch_size)
    found = predictor([bright_rectangle(), bright_rectangle()[:, ::-1]])
    assert {shape[0] for shape in seen} == {batch_size} and predictor.timing.images == 2
    assert [len(detections) for detections in found] == [2, 2]
    mirrored = [SIZE[1] - BOX[2], BOX[1], SIZE[1] - BOX[0], BOX[3]]
    for detections, want in zip(found, (BOX, mirrored)):
        np.testing.assert_allclose(detections.boxes, [want, want], atol=3)


def test_an_exported_file_sees_every_picture_in_its_one_shape():
    detector = detector_of("centernet_resnet50", "--multi_scales", "1,0.5", "--input_res_test", "320,256", classes=1)
    shapes = set()

    def run(batch):
        shapes.add(batch.shape)
        return find_bright(batch)

    (found,) = Predictor(detector, run, one_shape=True)([bright_rectangle()])
    assert detector.config.eval.keep_res and shapes == {(1, 3, 320, 256)}
    np.testing.assert_allclose(found.boxes[0], BOX, atol=3)


def test_geometry_without_the_picture_is_that_of_its_input():
    detector = detector_of("centernet_resnet50", "--input_res_test", "320,480", classes=1)
    _, wanted = detector.preprocess(bright_rectangle())
    found = detector.geometry(*SIZE)
    assert found.factor == wanted.factor and (found.shift == wanted.shift).all()


class Maps(nn.Cell):
    """A network whose maps are made of the picture by hand."""

    def construct(self, images):
        small = images[:, :, ::4, ::4]
        return small[:, :1] * 8 - 4, small[:, :2] + 2, small[:, :2] * 0


def test_the_flip_test_takes_the_mean_with_the_mirrored_maps():
    rng = np.random.default_rng(0)
    image = Tensor(rng.random((1, 3, 32, 48)), ms.float32)
    with_flip, without = CenterNetInference(Maps(), 5, 0, flip_test=True), CenterNetInference(Maps(), 5, 0)
    def scores(cell, picture):
        return cell(picture).asnumpy()[0, :, 4]

    heat = 1 / (1 + np.exp(4 - 8 * image.asnumpy()[0, 0, ::4, ::4]))
    mirrored = 1 / (1 + np.exp(4 - 8 * image.asnumpy()[0, 0, ::4, ::-1][:, ::4]))[:, ::-1]
    assert scores(without, image)[0] == pytest.approx(heat.max(), abs=1e-6)
    assert scores(with_flip, image)[0] == pytest.approx(((heat + mirrored) / 2).max(), abs=1e-6)


def test_overlapping_boxes_lose_score_by_soft_nms_only():
    peaks = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 0], [0, 0, 10, 10, 0.7, 1]], np.float32)
    scores = {soft: decode([peaks], [Geometry(4, np.zeros(2))], 3, soft).scores.tolist() for soft in (True, False)}
    np.testing.assert_allclose(scores[False], [0.9, 0.8, 0.7], rtol=1e-6)
    np.testing.assert_allclose(scores[True], [0.9, 0.7, 0.8 * np.exp(-2)], rtol=1e-6)  # same box: overlap 1, sigma 0.5
