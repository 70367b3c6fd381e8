"""Detection in tiles, with a detector that finds bright rectangles, worked out by hand."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from src.evaluation.predictor import Predictor
from src.evaluation.tiles import TiledDetector, windows
from src.ops.detections import Detections
from src.ops.masks import bitmap, paste_masks


class Bright:
    """Finds every bright rectangle of a view at least 8 pixels wide; a large view is seen at half its size, as by a
    network with a small input."""

    classes = ("box",)

    def __init__(self, with_masks: bool = False):
        self.with_masks = with_masks

    def views(self, image, one_shape=False):  # noqa: ARG002 (the contract)
        scale = 0.25 if max(image.shape[:2]) > 200 else 1.0
        return [(cv2.resize(image[..., 0], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA),
                 (scale, image.shape[:2]))]

    def further_inputs(self, geometry):  # noqa: ARG002 (the contract)
        return ()

    def postprocess_views(self, outputs, geometries):
        ((view,),), ((scale, size),) = outputs, geometries
        _, _, stats, _ = cv2.connectedComponentsWithStats((view > 128).astype(np.uint8))
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if min(w, h) >= 8],
                         np.float32).reshape(-1, 4) / scale
        scores = np.linspace(0.9, 0.8, len(boxes)).astype(np.float32)
        masks = paste_masks(np.ones((len(boxes), 4, 4), np.float32), boxes, size, 0.5) if self.with_masks else None
        return Detections(boxes, scores, np.zeros(len(boxes), np.int32), masks)


def picture(*boxes) -> np.ndarray:
    image = np.zeros((300, 400, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = 255
    return image


def found(image, detector) -> Detections:
    def run(views):
        return [views]

    (detections,) = Predictor(detector, run)([image])
    return detections


def test_windows_cover_the_image_evenly_and_overlap():
    assert windows(100, 80, 128, 0.2) == [(0, 0, 80, 100)]
    whole, *tiles = windows(300, 400, 160, 0.2)
    assert whole == (0, 0, 400, 300)
    assert sorted({tile.x1 for tile in tiles}) == [0, 120, 240] and sorted({tile.y1 for tile in tiles}) == [0, 70, 140]
    assert all(tile.x2 - tile.x1 == tile.y2 - tile.y1 == 160 for tile in tiles)
    assert [tile[0::2] for tile in windows(80, 400, 160, 0.5)[1:]] == [(0, 160), (80, 240), (160, 320), (240, 400)]


SMALL = [(130, 80, 142, 92), (300, 210, 314, 222)]     # the first one lies in two tiles across and two down


def test_small_objects_are_found_once_and_in_pixels_of_the_image():
    assert len(found(picture(*SMALL), Bright())) == 0
    detections = found(picture(*SMALL), TiledDetector(Bright(), 160, 0.2))
    assert sorted(detections.boxes.tolist()) == sorted(map(list, SMALL))
    assert list(detections.scores) == sorted(detections.scores, reverse=True)


def test_a_large_object_is_found_as_a_whole_and_not_in_pieces():
    """240 x 60 pixels: each tile of 160 cuts a piece off, which is left out."""
    detections = found(picture((80, 120, 320, 180)), TiledDetector(Bright(), 160, 0.2))
    assert detections.boxes.tolist() == [[80, 120, 320, 180]]


def test_an_object_at_the_border_of_the_image_stays():
    detections = found(picture((0, 0, 12, 12), (388, 288, 400, 300)), TiledDetector(Bright(), 160, 0.2))
    assert sorted(detections.boxes.tolist()) == [[0, 0, 12, 12], [388, 288, 400, 300]]


def test_masks_lie_in_the_image():
    image = picture(*SMALL, (80, 120, 320, 180))
    detections = found(image, TiledDetector(Bright(with_masks=True), 160, 0.2))
    covered = sum(bitmap(mask, 300, 400) for mask in detections.masks)
    touched = picture(*((x1, y1, x2 + 1, y2 + 1) for x1, y1, x2, y2 in (*SMALL, (80, 120, 320, 180))))[..., 0] > 0
    assert len(detections) == 3
    np.testing.assert_array_equal(covered, touched)


def test_an_image_of_one_tile_is_detected_as_ever():
    image = picture((10, 10, 60, 50))[:150, :150]
    tiled, plain = found(image, TiledDetector(Bright(), 160, 0.2)), found(image, Bright())
    np.testing.assert_array_equal(tiled.boxes, plain.boxes)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_batches_mix_the_tiles_of_images(batch_size):
    images = [picture(*SMALL), picture(SMALL[0]), picture()]
    predictor = Predictor(TiledDetector(Bright(), 160, 0.2), lambda views: [views], batch_size)
    assert [len(detections) for detections in predictor(images)] == [2, 1, 0]
