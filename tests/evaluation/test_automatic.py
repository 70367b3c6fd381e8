"""--auto True: settings that are computed from the training images, and what the user gave stays."""
from __future__ import annotations

import numpy as np
import pytest

from src.command_line import load_config
from src.evaluation.advice import ImageBoxes, advise_for
from src.evaluation.automatic import Training, sampled, with_automatic_settings
from src.models import FAMILIES, MODELS, config_class
from src.settings.config import AUTOMATIC, fields

SMALL = ("--config_path", "config/ssd/ssd300_mobilenet_v2_small.yaml")


def one_object_each(low=0.3, high=0.95, images=32, size=300) -> list:
    """Images with a single square of low to high of the side."""
    rng, found = np.random.default_rng(1), []
    for _ in range(images):
        side = size * rng.uniform(low, high)
        left, top = rng.uniform(0, size - side, 2)
        found.append(ImageBoxes(np.float32([[left, top, left + side, top + side]]), size, size, np.zeros(1, int)))
    return found


def computed(*flags, images=None, ranks=1):
    images = one_object_each() if images is None else images
    return with_automatic_settings(load_config(flags, "train"), training(images, ranks=ranks))


def training(images, count=None, ranks=1) -> Training:
    return Training(images, count or len(images), ("cat",), ranks)


def test_large_objects_get_large_priors_steps_enough_and_a_reason_for_each():
    automatic = computed(*SMALL)

    config, text = automatic.config, automatic.text()
    assert config.model.min_scale >= 0.25 and config.model.match_threshold == 0.5
    assert config.train.epoch_size == 250       # 1000 steps of batch 8
    assert config.optimizer.warmup_epochs == 12.5 and config.train.ema_decay == 0.99
    assert config.train.eval_interval == 31 and config.data.zoom_out > 1.5
    assert "epoch_size 40 -> 250: 1000 steps, 4 per epoch of 32 images" in text
    advice = advise_for(load_config(SMALL, "train"), one_object_each(), ("cat",))
    assert f"{advice.before.few:.1%} -> {advice.after.few:.1%}" in text   # the numbers that the audit prints


def test_small_objects_are_not_made_smaller_and_a_larger_input_is_only_named():
    automatic = computed(*SMALL, images=one_object_each(0.03, 0.05))

    assert automatic.config.data.zoom_out <= 1.1 and automatic.config.model.img_shape == [300, 300]
    assert "100% of the objects are smaller than a cell" in automatic.text()
    assert "--img_shape [600,600]" in automatic.text()


def test_flags_are_kept_and_said():
    automatic = computed(*SMALL, "--min_scale", "0.12", "--epoch_size", "7", "--zoom_out", "1.1")

    config, text = automatic.config, automatic.text()
    assert (config.model.min_scale, config.train.epoch_size, config.data.zoom_out) == (0.12, 7, 1.1)
    assert config.optimizer.warmup_epochs == 0.35       # of the seven epochs
    assert "epoch_size 7 is kept, flag --epoch_size gives it" in text and "zoom_out 1.1 is kept" in text


def test_priors_stay_those_of_the_weights_to_start_from():
    config = load_config(SMALL, "train")
    config = config.replaced_by("a file", {"pre_trained": "cells.ckpt"})

    automatic = with_automatic_settings(config, training(one_object_each()))

    assert automatic.config.model.min_scale == config.model.min_scale and "weights of pre_trained" in automatic.text()


def test_the_order_of_the_images_and_a_second_time_change_nothing():
    images = one_object_each()
    first = computed(*SMALL, images=images).config

    assert computed(*SMALL, images=images[::-1]).config == first
    again = with_automatic_settings(first, training(images))
    assert again.config == first and again.lines == ["nothing to change: the present settings fit"]


@pytest.mark.parametrize("images, ranks, epochs", [(10, 1, 300), (160, 1, 50), (160, 4, 200), (20000, 1, 12)])
def test_epochs_for_a_thousand_steps_within_limits(images, ranks, epochs):
    config = load_config([*SMALL, "--min_scale", "0.3", "--match_threshold", "0.5"], "train")
    automatic = with_automatic_settings(config, training(one_object_each(images=5), images, ranks))
    assert automatic.config.train.epoch_size == epochs


def test_a_large_set_is_sampled_over_its_whole_length():
    assert sampled(3).tolist() == [0, 1, 2]
    assert len(sampled(118287)) == 2000 and sampled(118287)[[0, -1]].tolist() == [0, 118286]


@pytest.mark.parametrize("model", ["ssd300", "faster_rcnn_resnet50", "mask_rcnn_resnet50", "centernet_resnet50"])
def test_every_family_computes_settings_of_its_own(model):
    size = ["--img_height", "192", "--img_width", "320"] if "rcnn" in model else []
    before = load_config(["--model_name", model, *size], "train")

    after = with_automatic_settings(before, training(one_object_each())).config

    changed = {key for key, value in after.values().items() if value != before.values()[key]}
    assert {"warmup_epochs", "warmup_step", "warmup_steps"} & changed
    assert changed <= AUTOMATIC
    steps = len(one_object_each()) // after.train.batch_size * after.train.epoch_size
    rates = after.optimizer.learning_rates(after.train.epoch_size, steps // after.train.epoch_size, 8)
    assert rates.argmax() <= steps * 0.06       # the warm-up ends early


def test_computed_settings_are_settings():
    known = {key for family in FAMILIES for key in fields(config_class(family))}
    assert known >= AUTOMATIC and len(MODELS) > 1
