"""Faster R-CNN learns: twenty steps on drawn pictures, with narrow layers and a small input."""
from __future__ import annotations

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest

from src.command_line import load_config
from src.data.shapes import draw_image
from src.engine.build import build_step, scaling
from src.errors import ConfigError
from src.model_utils.device_adapter import this_process
from src.models import build_detector

SMALL = {"img_height": 96, "img_width": 128, "fpn_out_channels": 32, "rcnn_fc_out_channels": 64, "num_gts": 8,
         "rpn_proposal_nms_pre": 100, "rpn_proposal_max_num": 100, "num_expected_neg_stage2": 32,
         "num_expected_pos_stage2": 8, "feature_extractor_base_param": "none", "opt_type": "adam", "base_lr": 1e-3}
CLASSES = ("circle", "rectangle", "triangle")


def detector_of(**changed):
    flags = [part for key, value in {**SMALL, **changed}.items() for part in (f"--{key}", str(value))]
    return build_detector(load_config(["--model_name", "faster_rcnn_resnet50", *flags], "train"), CLASSES)


def batch_of(detector, pictures: int, objects: bool = True) -> list:
    rng, samples, transform = np.random.default_rng(0), [], detector.train_transform()
    for _ in range(pictures):
        image, drawn = draw_image((128, 96), rng)
        drawn = drawn if objects else []
        boxes = [[*outline.min(axis=0), *outline.max(axis=0)] for _, outline in drawn]
        target = {"boxes": np.array(boxes, np.float32).reshape(-1, 4),
                  "labels": np.array([label for label, _ in drawn], np.int32), "crowd": np.zeros(len(drawn), bool)}
        samples.append(transform(image, target, rng))
    return [np.stack([sample[column] for sample in samples]) for column in detector.batch_columns]


@pytest.fixture(scope="module")
def trained():
    """(losses of twenty steps on one batch, those of a batch without objects then, how far moving means went)."""
    ms.set_seed(1)
    detector = detector_of(expand_ratio=0)
    network = detector.network()
    loss = detector.loss(network)
    step = build_step(detector.config, loss, detector, np.full(40, 1e-3, np.float32),
                      this_process(detector.config.runtime))
    batch = batch_of(detector, pictures=2)

    def losses_of(arrays):
        result = step(*arrays)
        assert int(result.skipped_in_row.asnumpy()) == 0
        return dict(zip(loss.parts, (float(part.asnumpy()) for part in result.losses)))

    losses = [losses_of(batch) for _ in range(20)]
    means = [np.abs(parameter.asnumpy()).max() for parameter in network.get_parameters()
             if parameter.name.endswith("moving_mean")]
    return losses, losses_of(batch_of(detector, pictures=2, objects=False)), means


def test_the_loss_falls(trained):
    losses = {part: [step[part] for step in trained[0]] for part in trained[0][0]}
    assert np.mean(losses["total_loss"][-5:]) < 0.8 * np.mean(losses["total_loss"][:5])
    assert np.mean(losses["rpn_cls_loss"][-5:]) < 0.5 * losses["rpn_cls_loss"][0]


def test_without_start_weights_statistics_are_learned(trained):
    assert min(trained[2]) > 0


def test_the_rate_for_the_actual_batch_is_said():
    config = load_config(["--model_name", "faster_rcnn_resnet50", "--base_lr", "0.001", "--base_batch_size", "8",
                          "--batch_size", "2", "--accumulation_steps", "2"], "train")
    assert scaling(config.optimizer, config.train, SimpleNamespace(size=1)) == (
        " (lr 0.001 is set for 8 images per step and is scaled to 4)")
    unscaled = load_config(["--model_name", "faster_rcnn_resnet50", "--base_batch_size", "none"], "train")
    assert scaling(unscaled.optimizer, unscaled.train, SimpleNamespace(size=1)) == (
        " (lr 0.04 is not scaled to the 2 images per step, because base_batch_size is none)")
    ssd = load_config(["--model_name", "ssd300"], "train")
    assert scaling(ssd.optimizer, ssd.train, SimpleNamespace(size=1)) == ""


def test_parts_add_up(trained):
    for losses in (trained[0][0], trained[1]):
        assert losses["total_loss"] == pytest.approx(losses["rpn_loss"] + losses["rcnn_loss"])
        assert losses["rpn_loss"] == pytest.approx(losses["rpn_cls_loss"] + losses["rpn_reg_loss"])
        assert losses["rcnn_loss"] == pytest.approx(losses["rcnn_cls_loss"] + losses["rcnn_reg_loss"])


def test_pictures_without_objects_have_no_box_loss(trained):
    empty = trained[1]
    assert empty["rpn_reg_loss"] == empty["rcnn_reg_loss"] == 0 < empty["total_loss"]


def test_the_body_is_frozen_when_there_is_something_to_keep():
    scratch, pretrained = detector_of(), detector_of(feature_extractor_base_param="somewhere.ckpt")
    assert not scratch.frozen_body and pretrained.frozen_body
    assert detector_of(frozen_body=True).frozen_body
    body = pretrained.network().backbone
    trained = {parameter.name for parameter in body.trainable_params()}
    assert "backbone.stages.1.0.reduce.conv.weight" in trained
    assert not any(name.startswith(("backbone.stem", "backbone.stages.0")) for name in trained)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match="img_height = '100': 100 is not a multiple of 32; the nearest is 96"):
        detector_of(img_height=100)
