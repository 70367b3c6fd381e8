"""Mask R-CNN gives the numbers of the old zoo (tests/golden/maskrcnn_r50), with the configuration that is shipped.

Tolerances: 1e-3 of a feature map's standard deviation, 2e-3 of a loss. forward.npz here holds what the tests of Faster
R-CNN do not cover, and the masks of the 40 best detections.
"""
from __future__ import annotations

import zlib
from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
import recipe
from golden import LIMITS, Golden, sample_error, spread
from mindspore import Tensor, ops
from pycocotools import mask as coco_mask

from src.command_line import load_config
from src.engine.optimizer import build_optimizer
from src.faster_rcnn.transforms import fit
from src.mask_rcnn.detector import MaskRCNNDetector
from src.mask_rcnn.targets import mask_targets
from src.mask_rcnn.transforms import pack
from src.ops.inclusive_boxes import decode as decode_boxes

pytestmark = pytest.mark.usefixtures("pynative")

GOLDEN = Golden("maskrcnn_r50")
FEW_ROIS = 64  # the recorded sample of the mask logits goes over all 1000; these hold a sixteenth of it


@pytest.fixture(scope="module")
def detector() -> MaskRCNNDetector:
    return MaskRCNNDetector(load_config(["--model_name", "mask_rcnn_resnet50"], "train"),
                            [f"class {index}" for index in range(80)])


@pytest.fixture(scope="module")
def network(detector):
    network = detector.network()
    parameters = network.parameters_dict()
    for key, shape, _ in GOLDEN.parameters():
        parameters[detector.from_zoo(key)].set_data(Tensor(GOLDEN.value(key, shape)))
    network.set_train(False)
    return network


def ellipses(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, height, width) bool: the ellipse in each box, which the zoo's masks were recorded with."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return np.stack([((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
                     for x1, y1, x2, y2 in boxes.astype(np.float64)])


def packed(bitmaps: np.ndarray) -> Tensor:
    """(1, 128, H, W / 8): a batch of one picture."""
    rows = np.zeros((1, 128, *bitmaps.shape[1:-1], bitmaps.shape[-1] // 8), np.uint8)
    rows[0, :len(bitmaps)] = np.packbits(bitmaps, axis=-1)
    return Tensor(rows)


def test_every_parameter_of_the_zoo_has_its_place(detector, network):
    ours = {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    theirs = {detector.from_zoo(key): shape for key, shape, _ in GOLDEN.parameters()}
    assert len(theirs) == len(GOLDEN.parameters()) and theirs == ours
    assert detector.from_zoo("network.rcnn_mask.fpn_mask.mask_deconv5.weight") == "mask_head.upscale.weight"
    assert detector.from_zoo("moments.backbone.conv1.weight") is None


def test_the_configuration_trains_what_the_zoo_trains():
    config = load_config(["--model_name", "mask_rcnn_resnet50"], "train")
    network = MaskRCNNDetector(config, ["one"] * 80).network()
    trained = {parameter.name for parameter in network.trainable_params()}
    detector = MaskRCNNDetector(config, ["one"] * 80)
    assert trained == {detector.from_zoo(key) for key, _, trainable in GOLDEN.parameters() if trainable}


# Inference

@pytest.fixture(scope="module")
def forward(detector, network) -> dict:
    """Maps and outputs of one inference call, and the mask logits of the first RoIs as the zoo computes them.

    The second stage gets the recorded proposals: at near-ties of their scores their order is the kernel's.
    """
    measured = GOLDEN.read("forward")
    images = Tensor(recipe.network_input("maskrcnn_r50"))
    inference = detector.inference(network)
    levels, objectness, deltas = network(images)
    proposals, _ = inference.proposals(objectness, deltas)
    rois, valid = Tensor(measured["proposals"][None, :, :4]), Tensor(measured["proposals_valid"][None])
    logits, box_deltas = network.boxes(levels, rois)
    detections = inference.detections(rois, valid, logits, box_deltas)
    # The zoo crops at the box of the RoI's best class, the background being one.
    best = logits[0].argmax(-1)
    own_deltas = box_deltas[0][ops.arange(len(best)), best]
    model = detector.config.model
    mask_rois = decode_boxes(own_deltas, rois[0], model.rcnn_target_stds, model.input_size).expand_dims(0)
    mask_features = network.mask_roi_align(levels, mask_rois)
    few = network.mask_head(mask_features[:FEW_ROIS])
    boxes, labels, found, origin = detections
    masks = ops.sigmoid(network.masks(levels, boxes[:, :, :4], labels[:, :, 0] + 1))
    arrays = {f"fpn_ncek.{index}": level for index, level in enumerate(levels)}
    arrays.update({
        "proposals": proposals[0], "rcnn.cls_logits": logits[0], "rcnn.reg": box_deltas[0].reshape(len(best), -1),
        "roi_feats_mask": mask_features, "few_mask_logits": few, "boxes": boxes[0], "labels": labels[0, :, 0],
        "found": found[0, :, 0], "origin": origin[0], "best": best, "masks": masks[0]})
    return {name: array.asnumpy() for name, array in arrays.items()}


@pytest.mark.parametrize("name", [*(f"fpn_ncek.{level}" for level in range(5)), "rcnn.cls_logits", "rcnn.reg",
                                  "roi_feats_mask"])
def test_maps_are_those_of_the_zoo(forward, name):
    measured = GOLDEN.read("forward")
    assert sample_error(measured, name, forward[name]) < 1e-3 * spread(measured, name)


def test_proposals_are_those_of_the_zoo(forward):
    """In the canvas's padding, from x = 1024 on, whole columns of cells have one score, and which box of equal ones
    comes first is the kernel's affair."""
    want = GOLDEN.read("forward")["proposals"][:, :4]
    want = want[want[:, 2] < 1000]
    nearest = np.abs(want[:, None] - forward["proposals"][None]).max(-1).min(1)
    assert len(want) > 100 and (nearest < 0.05).mean() > 0.98


def test_mask_logits_are_those_of_the_zoo(forward):
    measured, name = GOLDEN.read("forward"), "rcnn.mask_logits"
    want, size = measured[f"{name}.sample"], int(np.prod(measured[f"{name}.shape"]))
    step = next(step | 1 for step in (-(-size // limit) for limit in LIMITS) if -(-size // (step | 1)) == want.size)
    found = forward["few_mask_logits"].reshape(-1)[::step]
    assert len(found) > 1000
    assert np.abs(found - want[:len(found)]).max() < 1e-3 * spread(measured, name)


def test_the_best_detections_are_the_zoos(forward):
    """In the padding, beyond the picture's 640 columns, boxes above each other have one score: only the columns say
    which they are."""
    measured = GOLDEN.read("forward")
    rows = np.argsort(-measured["detections.boxes_xyxy_score"][:, 4], kind="stable")[:100]
    found = forward["boxes"] / [1.6, 1.6, 1.6, 1.6, 1]
    assert forward["found"].all() and len(found) == 100
    want = measured["detections.boxes_xyxy_score"][rows]
    np.testing.assert_allclose(found[:, 4], want[:, 4], atol=1e-3)
    distance = np.abs(found[:, None, :4] - want[None, :, :4])
    distance[found[:, 0] > 640, :, 1::2] = 0
    same = forward["labels"][:, None] == measured["detections.labels_zero_based"][rows][None]
    assert (same & (distance.max(-1) < 0.05)).any(axis=1).all()


def test_masks_are_those_of_the_zoo_where_it_crops_at_the_detection(forward):
    """The zoo takes the mask of a detection at the box of its RoI's best class; where that is another one, the masks
    differ by design."""
    measured = GOLDEN.read("forward")
    boxes, labels = measured["detections.boxes_xyxy_score"], measured["detections.labels_zero_based"]
    compared = 0
    for row, mask in zip(measured["detections.masks_rows"], measured["detections.masks_28x28"]):
        near = np.abs(forward["boxes"][:, :4] / 1.6 - boxes[row, :4]).max(-1) < 0.05
        for index in np.flatnonzero(near & (forward["labels"] == labels[row])):
            if forward["best"][forward["origin"][index]] == labels[row] + 1:
                np.testing.assert_allclose(forward["masks"][index], mask, atol=5e-3)
                compared += 1
    assert compared >= 5


# Training

def test_mask_targets_are_those_of_the_zoo():
    measured = GOLDEN.read("anchors")
    want = np.unpackbits(measured["stage2.mask_targets_packed"])[:44 * 28 * 28].reshape(44, 28, 28)
    rois, objects = np.zeros((1, 128, 4), np.float32), np.zeros((1, 128), np.int32)
    rois[0, :44] = measured["stage2.pos_boxes"]
    objects[0, :44] = np.argmax(measured["stage2.pos_labels"][:, None] == measured["gt.labels"], axis=1)
    bitmaps = packed(ellipses(measured["gt.boxes_xyxy"], 768, 1280))

    found = mask_targets(bitmaps, Tensor(rois), Tensor(objects), 28).asnumpy()[0, :44]

    assert (found == want).all()
    assert (found.sum((1, 2)) == measured["stage2.mask_targets_sum"]).all()


class FirstOnes:
    """Takes the place of the random generator in sampling, as while recording: the first of all candidates."""

    def choice(self, candidates, count, replace):
        assert not replace
        return np.arange(candidates)[:count]


def test_losses_are_those_of_the_zoo(detector, network):
    measured = GOLDEN.read("loss")
    boxes, labels = np.zeros((1, 128, 4), np.float32), np.zeros((1, 128), np.int32)
    boxes[0, :5], labels[0, :5] = measured["gt.boxes_xyxy"], measured["gt.labels"]
    anchors = detector.train_transform().anchors(boxes[0, :5], FirstOnes())
    priority = np.linspace(1, 0, 128 + 2000, dtype=np.float32)[None]
    bitmaps = packed(ellipses(boxes[0, :5], 768, 1280))

    loss = detector.loss(network)
    losses = loss(Tensor(recipe.network_input("maskrcnn_r50")), *(Tensor(array[None]) for array in anchors.values()),
                  Tensor(boxes), Tensor(labels), Tensor(priority), bitmaps)

    found = dict(zip(loss.parts, (float(value.asnumpy()) for value in losses)))
    names = ["rcnn_mask_loss" if name == "rcnn_mask_fb_loss" else name for name in measured["parts_names"].tolist()]
    want = {"total_loss": float(measured["total"]), **dict(zip(names, measured["parts"]))}
    assert found == pytest.approx(want, rel=2e-3)


@pytest.mark.parametrize("case, flipped", [("640x480.flip0", False), ("640x480.flip1", True), ("500x333.flip0", False),
                                           ("500x333.flip1", True)])
def test_bitmaps_of_the_canvas_are_those_of_the_zoo(case, flipped):
    measured = GOLDEN.read("data")
    width, height = (int(side) for side in case.partition(".")[0].split("x"))
    boxes = np.minimum(measured["gt_xyxy_label_crowd"][:, :4], [width - 1, height - 1] * 2)
    bitmaps = ellipses(boxes, height, width)
    segments = [coco_mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in bitmaps]
    placement = replace(fit((height, width), (768, 1280), keep_ratio=True), flipped=flipped)

    rows = pack(segments, placement)

    canvas = np.unpackbits(rows, axis=2)
    assert canvas.shape == tuple(measured[f"train.{case}.masks.shape"])
    assert (canvas.sum((1, 2)) == measured[f"train.{case}.masks.pixel_count"]).all()
    assert [zlib.crc32(np.packbits(one).tobytes()) for one in canvas] == list(
        measured[f"train.{case}.masks.crc32_packbits"])


@pytest.mark.parametrize("devices", [1, 8])
def test_learning_rates_are_those_of_the_zoo(detector, devices):
    """For the zoo's number of steps, which came from base_step whatever the data set was; that of COCO on one card."""
    measured, base_step, epochs = GOLDEN.read("lr"), 58633, 12
    steps_per_epoch = base_step // devices + devices

    rates = detector.config.optimizer.learning_rates(epochs, steps_per_epoch, global_batch=16)

    name = f"{devices}_card" + "s" * (devices > 1)
    assert int(measured[f"{name}.total"]) == steps_per_epoch * (epochs + 1)
    np.testing.assert_allclose(rates[:600], measured[f"{name}.first600"], rtol=1e-5)
    every = measured[f"{name}.every50"]
    stride = {1: 500, 8: 50}[devices]
    np.testing.assert_allclose(rates[::stride], every[:len(rates[::stride])], rtol=1e-4, atol=1e-7)


def test_three_steps_of_momentum_are_the_zoos(detector, network):
    """What is recorded as the first and the second step is the state after the third as well."""
    measured = GOLDEN.read("optim")
    names = measured["names"].tolist()
    parameters = {key: network.parameters_dict()[detector.from_zoo(key)] for key in names}
    trained = [ms.Parameter(Tensor(GOLDEN.value(key, parameter.shape)), name=detector.from_zoo(key))
               for key, parameter in parameters.items()]
    optimizer = build_optimizer(detector.config.optimizer, trained, measured["lr"].astype(np.float32))
    for step in range(3):
        optimizer(tuple(Tensor(recipe.tensor(f"grad.{step}.{key}", parameter.shape, 0.01))
                        for key, parameter in parameters.items()))
    for key, parameter in zip(names, trained):
        assert sample_error(measured, f"step3.{key}", parameter.asnumpy()) < 1e-5 * spread(measured, f"step3.{key}")
