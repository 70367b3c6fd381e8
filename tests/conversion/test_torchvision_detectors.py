"""Whole detectors of torchvision give the same detections here."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from src.checkpoint import Weights
from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.convert import choose_naming, convert
from src.conversion.two_stage import two_stage_namings, without_unused_ids
from src.data.shapes import draw_picture
from src.detectors import build_detector, load_config
from src.evaluation.predictor import Predictor, network_runner
from src.faster_rcnn.transforms import MEAN, STD
from src.ops.detections import Detections

torch = pytest.importorskip("torch")

CONFIG = Path(__file__).resolve().parents[2] / "config" / "faster_rcnn" / "faster_rcnn_resnet50_torchvision.yaml"
SIDES = (128, 192)  # of a picture: the shorter, and at most the longer; the canvas is a square of the longer
PICTURES, EQUAL_PICTURES = 24, 20
# Fewer proposals than torchvision takes, for the time; and a scale by which the small pictures have RoIs of all levels.
THEIR_FLAGS = {"rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 100, "min_size": SIDES[0],
               "max_size": SIDES[1]}
OUR_FLAGS = ["--rpn_nms_pre", "100", "--rpn_max_num", "100", "--resize_sides", f"{SIDES[0]},{SIDES[1]}",
             "--img_height", f"{SIDES[1]}", "--img_width", f"{SIDES[1]}", "--roi_align_finest_scale", "14"]
CANONICAL_SCALE = 56


def pictures(count: int) -> list:
    """Of several sizes, wide and high ones."""
    sizes = np.random.default_rng(0).integers(90, 260, (count, 2))
    return [draw_picture(tuple(map(int, size)), np.random.default_rng(seed))[0] for seed, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def theirs():
    """fasterrcnn_resnet50_fpn with random weights that find things, with a wide range of scores."""
    models = pytest.importorskip("torchvision").models.detection
    torch.manual_seed(0)
    model = models.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, **THEIR_FLAGS)
    model.roi_heads.box_roi_pool.canonical_scale = CANONICAL_SCALE
    return lively(model)


def lively(model):
    """The model with norms that fit its features, and outputs of the heads spread as those of trained ones are."""
    images, spreads = tensors(pictures(4)), {
        model.rpn.head.cls_logits: 1.0, model.rpn.head.bbox_pred: 0.1,
        model.roi_heads.box_predictor.cls_score: 3.0, model.roi_heads.box_predictor.bbox_pred: 0.5}
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.weight.data.uniform_(0.5, 1.0)
    with torch.no_grad():
        model.eval().backbone.train()(model.transform(images)[0].tensors)
        model.backbone.eval()
        for layer, spread in spreads.items():
            layer.weight.mul_(spread / torch.cat(outputs(model, layer, images)).std())
    return model


def outputs(model, layer, images: list) -> list:
    """What the layer gives for the images, flat."""
    found = []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: found.append(output.flatten()))
    model(images)
    hook.remove()
    return found


def tensors(images: list) -> list:
    return [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]


def ours(model, classes):
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    detector = build_detector(load_config(["--config_path", str(CONFIG), *OUR_FLAGS], "eval"), classes)
    network = detector.network().set_train(False)
    parameters = network.parameters_dict()
    weights = Weights(arrays, Path("detector.pth"))
    conversion = convert(weights, choose_naming(weights, two_stage_namings(network), parameters, None),
                         {name: tuple(value.shape) for name, value in parameters.items()})
    assert not conversion.missing and (conversion.naming.source, conversion.naming.content) == (
        "torchvision", "detector")
    for name, array in conversion.arrays.items():
        parameters[name].set_data(Tensor(np.ascontiguousarray(array)))
    return detector, Predictor(detector, network_runner(detector.inference(network)), 1)


def test_detections_are_those_of_torchvision(theirs):
    _, predictor = ours(theirs, [f"id {number}" for number in range(1, 91)])
    images = pictures(PICTURES)
    with torch.no_grad():
        wanted = theirs(tensors(images))
    wanted = [Detections(found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - 1)
              for found in wanted]
    scores, labels = (np.concatenate([getattr(found, name) for found in wanted]) for name in ("scores", "labels"))
    assert len(scores) > 50 * PICTURES and np.ptp(scores) > 0.5 and len(set(labels)) > 20
    assert_same_detections(predictor(images), wanted)


def assert_same_detections(have: list, wanted: list) -> None:
    """Boxes within 0.1 pixel and scores within 1e-3, of every detection of EQUAL_PICTURES, and of 99 of 100 in all.

    The others are ties but for rounding. Random features are rough: a change of the pictures by 1e-6, of what their
    values are between 0 and 1, changes up to one of 200 of torchvision's own detections by more than this.
    """
    matched = [same_detections(*pair) for pair in zip(have, wanted)]
    assert np.concatenate(matched).mean() > 0.99
    assert sum(found.all() for found in matched) >= EQUAL_PICTURES


def same_detections(have: Detections, wanted: Detections) -> np.ndarray:
    """Bool for every wanted detection, without those that could as well have been the first one cut off."""
    distance = np.abs(wanted.boxes[:, None] - have.boxes).max(axis=2)
    same = (distance < 0.1) & (np.abs(wanted.scores[:, None] - have.scores) < 1e-3)
    same &= wanted.labels[:, None] == have.labels
    certain = wanted.scores > wanted.scores[-1] + 1e-3
    return same.any(axis=1)[certain]


def test_ids_of_coco_without_a_class_are_left_out():
    names = pytest.importorskip("torchvision.models._meta")._COCO_CATEGORIES
    used = [index for index, name in enumerate(names) if name != "N/A"]
    assert tuple(names[index] for index in used[1:]) == COCO_CLASSES
    rows = np.arange(91 * 4)
    assert without_unused_ids(rows[:91]).tolist() == used
    assert without_unused_ids(rows).tolist() == [4 * index + column for index in used for column in range(4)]


def test_files_of_before_2022_and_frozen_norms_are_understood(theirs):
    detector = build_detector(load_config(["--config_path", str(CONFIG)], "eval"), COCO_CLASSES)
    (naming,) = two_stage_namings(detector.network())
    for old, new in (("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
                     ("backbone.fpn.inner_blocks.2.weight", "backbone.fpn.inner_blocks.2.0.weight"),
                     ("backbone.fpn.layer_blocks.0.bias", "backbone.fpn.layer_blocks.0.0.bias")):
        assert new in theirs.state_dict() and naming.rename(old) == naming.rename(new) is not None
    norm = {"backbone.body.bn1.weight": np.float32([2, 2]), "backbone.body.bn1.running_var": np.float32([1e-5, 1])}
    counted = {**norm, "backbone.body.bn1.num_batches_tracked": np.array(1)}
    np.testing.assert_allclose(naming.prepare(norm)["backbone.body.bn1.weight"], [2 * 2 ** 0.5, 2], rtol=1e-4)
    np.testing.assert_array_equal(naming.prepare(counted)["backbone.body.bn1.weight"], [2, 2])


def test_the_settings_are_what_torchvision_has_by_default():
    model = pytest.importorskip("torchvision").models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None)
    config = load_config(["--config_path", str(CONFIG)], "eval")
    rpn, heads, resizing = model.rpn, model.roi_heads, model.transform
    ours = config.model
    assert [rpn._pre_nms_top_n["testing"], rpn._post_nms_top_n["testing"], rpn.nms_thresh] == [
        ours.rpn_nms_pre, ours.rpn_max_num, ours.rpn_nms_thr]
    assert [heads.score_thresh, heads.nms_thresh, heads.detections_per_img] == [
        config.eval.test_score_thr, config.eval.test_iou_thr, config.eval.test_max_per_img]
    assert [heads.box_roi_pool.canonical_scale, *heads.box_roi_pool.output_size] == [
        4 * ours.roi_align_finest_scale, ours.roi_size, ours.roi_size]
    np.testing.assert_allclose(1 / np.array([rpn.box_coder.weights, heads.box_coder.weights]),
                               [ours.rpn_target_stds, ours.rcnn_target_stds])
    assert [*resizing.min_size, resizing.max_size] == config.data.resize_sides
    assert ours.image_size == (1344, 1344)  # the longer side, up to a multiple of 32
    np.testing.assert_allclose([resizing.image_mean, resizing.image_std], [MEAN / 255, STD / 255], rtol=1e-6)
