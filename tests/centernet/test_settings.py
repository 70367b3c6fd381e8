"""The shipped files of CenterNet, and settings that make no sense."""
from __future__ import annotations

import pytest

from src.command_line import load_config
from src.errors import ConfigError
from src.models import MODELS

NAMES = [name for name, row in MODELS.items() if row.family == "centernet"]


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_file_differs_in_the_up_sampling_alone(name):
    shipped = load_config(["--model_name", name], "train")
    plain_path = MODELS[name].config_path.with_name(f"{name}_plain.yaml")
    plain = load_config(["--config_path", str(plain_path)], "train")
    assert (shipped.model.up_sampling, plain.model.up_sampling) == ("deformable", "plain")
    assert shipped.replace(up_sampling="plain") == plain


@pytest.mark.parametrize("name", NAMES)
def test_the_files_hold_the_zoo_s_values(name):
    config = load_config(["--model_name", name], "train")
    assert (config.train.epoch_size, config.train.batch_size, config.train.seed) == (330, 32, 317)
    assert (config.optimizer.lr, config.optimizer.multi_epochs, config.optimizer.loss_scale) == (
        0.00048, [290, 320], 1024)
    assert (config.data.input_res_train, config.eval.input_res_test, config.eval.keep_res) == (
        [512, 512], [680, 680], True)


@pytest.mark.parametrize("flags, words", [
    (["--input_res_train", "500,512"], "multiples of 32"),
    (["--input_res_test", "681,680"], "multiples of 4"),
    (["--multi_scales", "1,0"], "above 0"),
    (["--std", "0.1,0,0.1"], "above 0"),
    (["--eig_vec", "[[1,0,0],[0,1,0],[0,0]]"], "three rows of three"),
    (["--lr_type", "cosine"], r"MultiDecay \| PolyDecay"),
])
def test_settings_that_make_no_sense_are_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        load_config(["--model_name", "centernet_resnet50", *flags], "train")
