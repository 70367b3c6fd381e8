"""What a CPU can show of CenterNet's accuracy; up to an hour of training, so it is left to `make nightly`."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.data.shapes import draw_shapes

FIXED = {"model_name": "centernet_resnet50", "keep_res": False, "mindrecord_shards": 1, "python_multiprocessing": False}


def ap50_of(cli, folder: Path, **flags) -> float:
    """Train in `folder`, evaluate the last checkpoint; AP at IoU 0.5."""
    for command, more in (("train", {"output_path": folder / "run"}), ("eval", {"report": False})):
        if command == "eval":
            (more["model_path"],) = (folder / "run" / "ckpt_0").glob("*.ckpt")
        done = cli.call(command, folder, **FIXED, **flags, mindrecord_dir=folder / "mindrecord", **more)
        assert done.returncode == 0, done.stderr[-2000:]
    return float(re.search(r"IoU=0\.50 +\| area= +all .* = (\S+)", done.stdout)[1])


@pytest.mark.nightly
def test_the_drawn_set_is_learned_in_three_quarters_of_an_hour(cli, tmp_path):
    draw_shapes(tmp_path / "shapes")
    # 40 epochs of 49 steps; a class is also told by its colour, so colours stay as they are
    assert ap50_of(cli, tmp_path, coco_root=tmp_path / "shapes", input_res_train="128,128", input_res_test="128,128",
                   batch_size=8, epoch_size=40, lr=0.0002, warmup_steps=100, multi_epochs="30,37", rand_crop=False,
                   shift=0.1, scale=0.2, color_aug=False, save_checkpoint_epochs=40) >= 0.7


@pytest.mark.nightly
def test_eight_pictures_of_cells_are_learned_by_heart(cli, eight_cells, tmp_path):
    assert ap50_of(cli, tmp_path, dataset="voc", voc_root=eight_cells, input_res_train="256,256",
                   input_res_test="256,256", batch_size=4, epoch_size=100, lr=0.001, warmup_steps=20,
                   multi_epochs="70,90", rand_crop=False, shift=0, scale=0, flip_prob=0, color_aug=False,
                   save_checkpoint_epochs=100) > 0.95
