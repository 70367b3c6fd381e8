"""Whole detectors of torchvision give the same detections here."""
from __future__ import annotations

import numpy as np
import pytest
from random_detectors import (
    CONFIG,
    FINEST,
    PROPOSALS,
    SIDES,
    TWO_STAGE_FLAGS,
    assert_same_detections,
    assert_same_masks,
    ours,
    pictures,
    spread_outputs,
)

from src.command_line import load_config
from src.conversion.coco_classes import COCO_CLASSES, without_unused_ids
from src.conversion.two_stage import two_stage_namings
from src.faster_rcnn.transforms import MEAN, STD
from src.models import build_detector

torch = pytest.importorskip("torch")
models = pytest.importorskip("torchvision").models

FASTER = "faster_rcnn/faster_rcnn_resnet50_torchvision.yaml"
MASK = "mask_rcnn/mask_rcnn_resnet50_torchvision.yaml"
SSD = "ssd/ssd_vgg16_torchvision.yaml"
IDS = [f"id {number}" for number in range(1, 91)]


@pytest.fixture(scope="module")
def faster_rcnn():
    return random_two_stage(models.detection.fasterrcnn_resnet50_fpn)


def random_two_stage(make):
    """With norms that fit their features, and outputs of the heads spread as those of trained ones are."""
    torch.manual_seed(0)
    model = make(weights=None, weights_backbone=None, min_size=SIDES[0], max_size=SIDES[1],
                 rpn_pre_nms_top_n_test=PROPOSALS, rpn_post_nms_top_n_test=PROPOSALS)
    rpn, heads = model.rpn.head, model.roi_heads
    for pool in (heads.box_roi_pool, heads.mask_roi_pool):
        if pool is not None:
            pool.canonical_scale = 4 * FINEST
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
            layer.weight.data.uniform_(0.5, 1.0)
    images = tensors(pictures(4))
    spreads = [{rpn.cls_logits: 1.0, rpn.bbox_pred: 0.1},
               {heads.box_predictor.cls_score: 3.0, heads.box_predictor.bbox_pred: 0.5}]
    if heads.mask_predictor is not None:
        spreads.append({heads.mask_predictor.mask_fcn_logits: 4.0})
    with torch.no_grad():
        model.eval().backbone.train()(model.transform(images)[0].tensors)
        model.backbone.eval()
        for step in spreads:
            spread_outputs(lambda: model(images), step)
    return model


def random_ssd():
    """With scores that are spread, and most boxes being background."""
    torch.manual_seed(0)
    model = models.detection.ssd300_vgg16(weights=None, weights_backbone=None).eval()
    images, classes = tensors(pictures(2)), model.head.classification_head.module_list
    with torch.no_grad():
        model.backbone.scale_weight.uniform_(10, 30)
        spread_outputs(lambda: model(images), {**{layer: 3.0 for layer in classes}, **{
            layer: 1.0 for layer in model.head.regression_head.module_list}})
        for layer in classes:
            layer.bias.normal_(0, 0.5)
            layer.bias[::len(IDS) + 1] += 13
    return model


def tensors(images: list) -> list:
    return [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]


def theirs(model, images: list) -> tuple:
    """(what it finds, the same as (boxes, scores, labels) of our Detections)"""
    with torch.no_grad():
        found = model(tensors(images))
    return found, [(one["boxes"].numpy(), one["scores"].numpy(), one["labels"].numpy() - 1) for one in found]


def test_detections_are_those_of_faster_rcnn(faster_rcnn):
    images = pictures()
    assert_same_detections(ours(faster_rcnn, IDS, FASTER, TWO_STAGE_FLAGS)(images), theirs(faster_rcnn, images)[1])


def fasterrcnn_resnet101_fpn(weights_backbone, weights=None, **settings):  # noqa: ARG001 (torchvision's arguments)
    """As torchvision's fasterrcnn_resnet50_fpn, which it has of depth 50 only."""
    backbone = models.detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet101", weights=weights_backbone, norm_layer=torch.nn.BatchNorm2d)
    return models.detection.FasterRCNN(backbone, len(IDS) + 1, **settings)


@pytest.mark.nightly
def test_detections_are_those_of_faster_rcnn_with_resnet101():
    model, images = random_two_stage(fasterrcnn_resnet101_fpn), pictures()
    have = ours(model, IDS, FASTER, [*TWO_STAGE_FLAGS, "--model_name", "faster_rcnn_resnet101"])(images)
    # Twice as many random layers enlarge rounding: 0.990 of the detections agreed, and all of 14 images.
    assert_same_detections(have, theirs(model, images)[1], least=0.98, whole=12)


@pytest.mark.nightly
def test_detections_and_masks_are_those_of_mask_rcnn():
    model, images = random_two_stage(models.detection.maskrcnn_resnet50_fpn), pictures()
    found, wanted = theirs(model, images)
    have = ours(model, IDS, MASK, TWO_STAGE_FLAGS)(images)
    assert_same_masks(have, [one["masks"][:, 0].numpy() > 0.5 for one in found], assert_same_detections(have, wanted))


@pytest.mark.nightly
def test_detections_are_those_of_ssd():
    model, images = random_ssd(), pictures()
    assert_same_detections(ours(model, IDS, SSD, [])(images), theirs(model, images)[1])


def test_ids_of_coco_without_a_class_are_left_out():
    names = pytest.importorskip("torchvision.models._meta")._COCO_CATEGORIES
    used = [index for index, name in enumerate(names) if name != "N/A"]
    assert tuple(names[index] for index in used[1:]) == COCO_CLASSES
    rows = np.arange(91 * 4)
    assert without_unused_ids(rows[:91]).tolist() == used
    assert without_unused_ids(rows).tolist() == [4 * index + column for index in used for column in range(4)]


def test_files_of_before_2022_and_frozen_norms_are_understood(faster_rcnn):
    detector = build_detector(load_config(["--config_path", str(CONFIG / FASTER)], "eval"), COCO_CLASSES)
    naming = two_stage_namings(detector, detector.network())[0]
    for old, new in (("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
                     ("backbone.fpn.inner_blocks.2.weight", "backbone.fpn.inner_blocks.2.0.weight"),
                     ("backbone.fpn.layer_blocks.0.bias", "backbone.fpn.layer_blocks.0.0.bias")):
        assert new in faster_rcnn.state_dict() and naming.rename(old) == naming.rename(new) is not None
    norm = {"backbone.body.bn1.weight": np.float32([2, 2]), "backbone.body.bn1.running_var": np.float32([1e-5, 1])}
    counted = {**norm, "backbone.body.bn1.num_batches_tracked": np.array(1)}
    np.testing.assert_allclose(naming.prepare(norm)["backbone.body.bn1.weight"], [2 * 2 ** 0.5, 2], rtol=1e-4)
    np.testing.assert_array_equal(naming.prepare(counted)["backbone.body.bn1.weight"], [2, 2])


def test_the_settings_are_what_torchvision_has_by_default():
    model = models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    config = load_config(["--config_path", str(CONFIG / FASTER)], "eval")
    rpn, heads, resizing = model.rpn, model.roi_heads, model.transform
    settings = config.model
    assert [rpn._pre_nms_top_n["testing"], rpn._post_nms_top_n["testing"], rpn.nms_thresh] == [
        settings.rpn_nms_pre, settings.rpn_max_num, settings.rpn_nms_thr]
    assert [heads.score_thresh, heads.nms_thresh, heads.detections_per_img] == [
        config.eval.test_score_thr, config.eval.test_iou_thr, config.eval.test_max_per_img]
    assert [heads.box_roi_pool.canonical_scale, *heads.box_roi_pool.output_size] == [
        4 * settings.roi_align_finest_scale, settings.roi_size, settings.roi_size]
    np.testing.assert_allclose(1 / np.array([rpn.box_coder.weights, heads.box_coder.weights]),
                               [settings.rpn_target_stds, settings.rcnn_target_stds])
    assert [*resizing.min_size, resizing.max_size] == config.data.resize_sides
    assert settings.input_size == (1344, 1344)  # the longer side, up to a multiple of 32
    np.testing.assert_allclose([resizing.image_mean, resizing.image_std], [MEAN / 255, STD / 255], rtol=1e-6)
