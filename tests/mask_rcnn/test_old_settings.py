"""Settings of the old zoo's Mask R-CNN."""
from __future__ import annotations

import pytest

from src.command_line import load_config

OLD_FILE = """model_name: maskrcnn
img_width: 1280
mask_shape: [28, 28]
max_instance_count: 128
roi_layer: {type: RoIAlign, out_size: 7, mask_out_size: 14, sample_num: 2}
mask_thr_binary: 0.5
base_lr: 0.02
lr: 0.01
base_step: 58633
total_epoch: 13
pretrain_epoch_size: 0
ckpt_path: ./ckpt_maskrcnn/mask_rcnn-12_7393.ckpt
ckpt_file: /cache/data/mask_rcnn-12_7393.ckpt
only_create_dataset: false
do_train: true
do_eval: false
---
base_lr: help
"""


def test_a_file_of_the_zoo_is_read_and_base_step_explained(tmp_path, capsys):
    path = tmp_path / "default_config.yaml"
    path.write_text(OLD_FILE, encoding="utf-8")

    config = load_config(["--config_path", str(path)], "train")

    assert config.model.model_name == "mask_rcnn_resnet50"
    assert (config.optimizer.base_lr, config.optimizer.opt_type) == (0.02, "momentum")
    assert config.eval.checkpoint_file_path is None and not config.data.only_create_dataset
    warning = capsys.readouterr().err
    assert "base_step (COCO's number of steps; the learning rate follows the steps of the data" in warning
    assert "max_instance_count (is num_gts)" in warning


@pytest.mark.parametrize("flags, only_create, run_eval", [
    ([], False, None), (["--do_train", "False"], True, None),
    (["--do_train", "True", "--do_eval", "True"], False, True),
    (["--only_create_dataset", "True"], True, None), (["--base_step", "58633"], False, None)])
def test_the_zoos_flags_mean_what_they_meant(flags, only_create, run_eval):
    config = load_config(["--model_name", "mask_rcnn_resnet50", *flags], "train")

    assert (config.data.only_create_dataset, config.train.run_eval) == (only_create, run_eval)
