"""Mask R-CNN with the commands: training, both tables of the evaluation, pictures with masks."""
from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

SMALL = {  # the configuration that is shipped, for pictures of 128 x 96 and a step of a second
    "model_name": "mask_rcnn_resnet50", "feature_extractor_base_param": "none", "img_width": 128, "img_height": 96,
    "anchor_scales": 4, "fpn_out_channels": 32, "rcnn_fc_out_channels": 64, "rcnn_mask_out_channels": 16, "num_gts": 8,
    "rpn_proposal_nms_pre": 200, "rpn_proposal_max_num": 100, "num_expected_neg_stage2": 32,
    "num_expected_pos_stage2": 8, "rpn_nms_pre": 100, "rpn_max_num": 50, "test_nms_pre": 100, "test_max_per_img": 10,
    "flip_ratio": 0, "expand_ratio": 0, "opt_type": "adam", "base_lr": 0.0005, "base_batch_size": "none",
    "warmup_step": 2, "weight_decay": 0, "batch_size": 2}
STEPS = 20


@pytest.fixture(scope="module")
def trained(cli, drawn, tmp_path_factory) -> SimpleNamespace:
    """`done`: the call of train.py; `run`: its folder."""
    cwd = tmp_path_factory.mktemp("mask_rcnn")
    flags = {**{key: drawn.flags[key] for key in ("coco_root", "mindrecord_dir", "mindrecord_shards",
                                                  "python_multiprocessing", "num_parallel_workers")}, **SMALL}
    done = cli.call("train", cwd, **flags, output_path=cwd / "run", train_steps=STEPS, epoch_size=10)
    return SimpleNamespace(cwd=cwd, run=cwd / "run", done=done, flags=flags)


@pytest.mark.nightly
def test_the_loss_falls(trained):
    assert trained.done.returncode == 0, trained.done.stdout + trained.done.stderr
    lines = [json.loads(line) for line in (trained.run / "metrics.jsonl").read_text().splitlines()]
    losses = [line for line in lines if "total_loss" in line]
    totals = [line["total_loss"] for line in losses]
    assert len(totals) == STEPS and np.isfinite(totals).all()
    # Medians: with batches of two pictures a single step can stand out.
    assert np.median(totals[-6:]) < 0.9 * np.median(totals[:4])
    assert np.median([line["rcnn_mask_loss"] for line in losses[-6:]]) < 0.9
    last = losses[-1]
    assert last["rcnn_loss"] == pytest.approx(
        last["rcnn_cls_loss"] + last["rcnn_reg_loss"] + last["rcnn_mask_loss"], rel=1e-4)


@pytest.mark.nightly
def test_files_have_the_zoos_names(trained, drawn):
    assert (drawn.flags["mindrecord_dir"] / "MaskRcnn.mindrecord.json").is_file()
    assert (trained.run / "ckpt_0" / f"mask_rcnn-5_{STEPS}.ckpt").is_file()


@pytest.mark.nightly
def test_the_evaluation_prints_both_tables_and_writes_masks(cli, trained):
    checkpoint = trained.run / "ckpt_0" / f"mask_rcnn-5_{STEPS}.ckpt"

    done = cli.call("eval", trained.cwd, model_path=checkpoint, test_score_thr=0.01)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Average Precision  (AP) @[ IoU=0.50:0.95") == 2 * 4
    assert done.stdout.index("type *bbox*") < done.stdout.index("type *segm*") < done.stdout.index("mask mAP: ")
    rows = json.loads((trained.run / "eval_val" / "predictions.json").read_text())
    assert rows and all(sorted(row["segmentation"]) == ["counts", "size"] for row in rows)
    assert (trained.run / "eval_val" / "report.html").is_file()


def test_a_data_set_without_outlines_is_refused(cli, drawn, tmp_path):
    rows = tmp_path / "rows.txt"
    picture = next((drawn.flags["coco_root"] / "train2017").iterdir())
    rows.write_text(f"{picture.name} 10,10,60,60,1\n", encoding="utf-8")

    done = cli.call("train", tmp_path, **{**SMALL, "dataset": "other"}, anno_path=rows, image_dir=picture.parent,
                    classes="circle", mindrecord_dir=tmp_path / "records", output_path=tmp_path / "run")

    assert done.returncode == 1 and "1 missing_outline" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
