"""Faster R-CNN from training to evaluated exports, with the commands as users call them, on a few drawn pictures."""
from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

# By day Mask R-CNN goes this way, tests/faster_rcnn/test_training.py trains, and the exported network is that of
# test_application_models.py.
pytestmark = pytest.mark.nightly

STEPS = 40
SMALL = {"model_name": "faster_rcnn_resnet50", "feature_extractor_base_param": "none", "img_height": 96,
         "img_width": 128, "fpn_out_channels": 32, "rcnn_fc_out_channels": 64, "num_gts": 8,
         "rpn_proposal_nms_pre": 100, "rpn_proposal_max_num": 100, "rpn_nms_pre": 100, "rpn_max_num": 100,
         "num_expected_neg_stage2": 32, "num_expected_pos_stage2": 8}
LEARN_BY_HEART = {"batch_size": 4, "train_steps": STEPS, "epoch_size": STEPS, "opt_type": "adam", "base_lr": 0.001,
                  "base_batch_size": 8, "warmup_step": 5, "flip_ratio": 0, "expand_ratio": 0,
                  "save_checkpoint_epochs": STEPS}


def passed(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def trained(cli, drawn, tmp_path_factory) -> SimpleNamespace:
    """A run; `done`: the call, `run`: its folder, `checkpoint`: its last, `data`: flags that name the pictures."""
    run = tmp_path_factory.mktemp("faster_rcnn") / "run"
    data = {key: value for key, value in drawn.flags.items() if key not in ("config_path", "img_shape")}
    data["mindrecord_dir"] = run.parent / "mindrecord"
    done = passed(cli.call("train", run.parent, **{**data, **SMALL, **LEARN_BY_HEART}, output_path=run))
    (checkpoint,) = (run / "ckpt_0").glob("*.ckpt")
    return SimpleNamespace(done=done, run=run, checkpoint=checkpoint, data=data)


def evaluated(cli, trained, model: Path) -> float:
    done = passed(cli.call("eval", trained.run.parent, model_path=model, coco_root=trained.data["coco_root"],
                           eval_split="train", report=False,
                           result_path=tempfile.mkdtemp(dir=trained.run.parent)))
    return float(re.search(r"^mAP: (\S+)$", done.stdout, re.MULTILINE)[1])


@pytest.fixture(scope="module")
def ap_of_the_checkpoint(cli, trained) -> float:
    return evaluated(cli, trained, trained.checkpoint)


def test_the_loss_falls_and_all_parts_are_logged(trained):
    lines = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()]
    losses = [line["total_loss"] for line in lines if "total_loss" in line]
    assert len(losses) == STEPS and np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert {"rpn_cls_loss", "rpn_reg_loss", "rcnn_cls_loss", "rcnn_reg_loss"} <= set(lines[0])


def test_the_rate_for_the_actual_batch_is_said(trained):
    assert ("learning rate up to 0.0005 (lr 0.001 is set for 8 images per step and is scaled to 4)"
            in trained.done.stderr)


def test_files_have_the_zoo_s_names(trained):
    assert (trained.data["mindrecord_dir"] / "FasterRcnn.mindrecord").is_file()
    assert re.fullmatch(r"faster_rcnn-\d+_40\.ckpt", trained.checkpoint.name)


@pytest.mark.parametrize("file_format", ["MINDIR", "ONNX"])
def test_exported_files_have_the_ap_of_the_checkpoint(cli, trained, ap_of_the_checkpoint, file_format):
    folder = trained.run.parent / "export"
    passed(cli.call("export", folder.parent, model_path=trained.checkpoint, result_path=folder,
                    file_format=file_format))
    about = json.loads((folder / "faster_rcnn.json").read_text(encoding="utf-8"))
    assert [output["shape"] for output in about["outputs"]] == [[1, 100, 5], [1, 100, 1], [1, 100, 1]]
    assert about["files"][file_format]["largest_difference"] < 1e-4
    ap = evaluated(cli, trained, folder / f"faster_rcnn.{file_format.lower()}")
    assert ap_of_the_checkpoint > 0.02 and ap == pytest.approx(ap_of_the_checkpoint, abs=2e-3)
