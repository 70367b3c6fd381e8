"""Detectors of mmdetection 3 and detectron2 give the same detections here as a restatement of them in plain torch."""
from __future__ import annotations

import pickle

import pytest
from random_detectors import TWO_STAGE_FLAGS, assert_same_detections, assert_same_masks, ours, pictures

from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.files import read_any_weights

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from plain_detectors import Detectron2, Mmdet, random_detector  # noqa: E402 (needs torch)


@pytest.mark.nightly
@pytest.mark.parametrize("with_masks", [False, True])
def test_detections_are_those_of_mmdetection(with_masks):
    model, images = random_detector(Mmdet, with_masks), pictures()
    with torch.no_grad():
        found = [model(image) for image in images]
    family = "mask_rcnn" if with_masks else "faster_rcnn"
    have = ours(model, COCO_CLASSES, f"{family}/{family}_resnet50_mmdet.yaml", TWO_STAGE_FLAGS)(images)
    pairs = assert_same_detections(have, [one[:3] for one in found])
    if with_masks:
        assert_same_masks(have, [one[3] for one in found], pairs)


@pytest.mark.nightly
@pytest.mark.parametrize("with_masks", [False, True])
def test_detections_are_those_of_detectron2(tmp_path, with_masks):
    model, images = random_detector(Detectron2, with_masks), pictures()
    with torch.no_grad():
        found = [model(image) for image in images]
    family, path = "mask_rcnn" if with_masks else "faster_rcnn", tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": model.model_zoo_arrays(), "__author__": "Detectron2 Model Zoo"}))
    have = ours(read_any_weights(path).arrays, COCO_CLASSES, f"{family}/{family}_resnet50_detectron2.yaml",
                TWO_STAGE_FLAGS)(images)
    pairs = assert_same_detections(have, [one[:3] for one in found])
    if with_masks:
        assert_same_masks(have, [one[3] for one in found], pairs)
