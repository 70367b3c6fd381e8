"""What a CPU can show of Faster R-CNN's accuracy; up to an hour of training, so it is left to `make nightly`."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.data.shapes import draw_shapes

FROM_SCRATCH = {"model_name": "faster_rcnn_resnet50", "feature_extractor_base_param": "none", "opt_type": "adam",
                "base_lr": 0.00015, "base_batch_size": "none", "expand_ratio": 0, "num_expected_neg_stage2": 128,
                "num_expected_pos_stage2": 32, "rpn_proposal_nms_pre": 500, "rpn_proposal_max_num": 500,
                "rpn_nms_pre": 300, "rpn_max_num": 300, "mindrecord_shards": 1, "python_multiprocessing": False}


def ap50_of(cli, folder: Path, **flags) -> float:
    """Train in `folder`, evaluate the last checkpoint; AP at IoU 0.5."""
    for command, more in (("train", {"output_path": folder / "run"}), ("eval", {"report": False})):
        if command == "eval":
            (more["model_path"],) = (folder / "run" / "ckpt_0").glob("*.ckpt")
        done = cli.call(command, folder, **{**FROM_SCRATCH, **flags}, mindrecord_dir=folder / "mindrecord", **more)
        assert done.returncode == 0, done.stderr[-2000:]
    return float(re.search(r"IoU=0\.50 +\| area= +all .* = (\S+)", done.stdout)[1])


@pytest.mark.nightly
def test_the_drawn_set_is_learned_in_three_quarters_of_an_hour(cli, tmp_path):
    draw_shapes(tmp_path / "shapes")
    assert ap50_of(cli, tmp_path, coco_root=tmp_path / "shapes", img_height=192, img_width=192, batch_size=4,
                   epoch_size=6, warmup_step=100, ema_decay=0.98, save_checkpoint_epochs=6) >= 0.7


@pytest.mark.nightly
def test_eight_pictures_of_cells_are_learned_by_heart(cli, eight_cells, tmp_path):
    assert ap50_of(cli, tmp_path, dataset="voc", voc_root=eight_cells, img_height=256, img_width=320, batch_size=2,
                   base_lr=0.0002, epoch_size=100, warmup_step=50, flip_ratio=0, save_checkpoint_epochs=100,
                   test_iou_thr=0.6) > 0.95  # cells overlap
