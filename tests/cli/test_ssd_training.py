"""Every SSD trains on a CPU, with the configuration that is shipped for it."""
from __future__ import annotations

import json

import numpy as np
import pytest

from src.checkpoint import read_weights

SMALLEST_INPUT = {"ssd_mobilenet_v1": "64,64", "ssd_mobilenet_v1_fpn": "64,64", "ssd_resnet50_fpn": "64,64",
                  "ssd_vgg16": "257,257"}  # below it VGG16's last maps, which are not padded, have no cell left
STEPS = 8


# Nightly: by day ssd300 trains in test_commands.py, and golden tests compare the outputs of these and the gradients of
# two of them.
@pytest.mark.nightly
@pytest.mark.parametrize("model", SMALLEST_INPUT)
def test_the_loss_falls(cli, drawn, tmp_path, model):
    flags = {key: value for key, value in drawn.flags.items() if key != "config_path"}
    done = cli.call("train", tmp_path, **{**flags, "img_shape": SMALLEST_INPUT[model]}, model_name=model,
                    feature_extractor_base_param="none", output_path=tmp_path / "run", train_steps=STEPS,
                    opt_type="adam", lr=0.001, lr_init=0.001, color_jitter="0,0,0", crop_tries=0, flip_prob=0)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == STEPS and np.isfinite(losses).all()
    assert np.mean(losses[-2:]) < 0.8 * np.mean(losses[:2])
    (checkpoint,) = (tmp_path / "run" / "ckpt_0").glob("ssd-*.ckpt")
    assert read_weights(checkpoint).model_name == model


def test_a_missing_backbone_file_is_said_at_once(cli, drawn, tmp_path):
    done = cli.call("train", tmp_path, model_name="ssd_resnet50_fpn", coco_root=drawn.flags["coco_root"])
    assert done.returncode == 2
    assert "does not exist; give its path, or train without one: --feature_extractor_base_param none" in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_input_that_is_too_small_is_said_with_the_way_out(cli, drawn, tmp_path):
    flags = {key: value for key, value in drawn.flags.items() if key != "config_path"}
    done = cli.call("train", tmp_path, **{**flags, "img_shape": "257,256"}, model_name="ssd_vgg16",
                    output_path=tmp_path / "run")
    assert done.returncode == 2
    assert "img_shape [257, 256] is too small: of 6 maps only 5 are left; make it larger" in done.stderr
