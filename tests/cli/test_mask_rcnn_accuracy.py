"""What a CPU can show of Mask R-CNN's accuracy; up to an hour of training, so it is left to `make nightly`."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from src.data.shapes import draw_shapes
from src.engine.curves import read_metrics

COCO = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_subset"
# From scratch, so the batch norms learn from the batch; fewer and smaller RoIs than on COCO.
FLAGS = {"model_name": "mask_rcnn_resnet50", "feature_extractor_base_param": "none", "anchor_scales": 4, "num_gts": 32,
         "rpn_proposal_nms_pre": 500, "rpn_proposal_max_num": 300, "num_expected_neg_stage2": 128,
         "num_expected_pos_stage2": 16, "rpn_nms_pre": 300, "rpn_max_num": 200, "expand_ratio": 0, "opt_type": "adam",
         "base_batch_size": "none", "warmup_step": 100, "weight_decay": 0.01, "python_multiprocessing": False,
         "run_eval": True}


def best(run: Path, metric: str) -> float:
    return max(line[metric] for line in read_metrics(run / "metrics.jsonl") if metric in line)


@pytest.mark.nightly
def test_the_drawn_set_is_learned(cli, tmp_path):
    draw_shapes(tmp_path / "shapes")
    done = cli.call("train", tmp_path, **FLAGS, coco_root=tmp_path / "shapes", mindrecord_dir=tmp_path / "mindrecord",
                    output_path=tmp_path / "run", img_width=192, img_height=192, batch_size=4, epoch_size=8,
                    base_lr=0.00015, ema_decay=0.98, eval_start_epoch=4, eval_interval=2)
    assert done.returncode == 0, done.stderr[-2000:]
    assert best(tmp_path / "run", "AP50") >= 0.7
    assert best(tmp_path / "run", "mask_AP50") >= 0.65


def eight_pictures(folder: Path) -> None:
    """Of the COCO subset those with fewest objects, crowds left alone, as train2017 of a data set of their own."""
    content = json.loads((COCO / "annotations" / "instances_train2017.json").read_text(encoding="utf-8"))
    counts = {image["id"]: 0 for image in content["images"]}
    for annotation in content["annotations"]:
        counts[annotation["image_id"]] += 1000 if annotation["iscrowd"] else 1
    chosen = sorted((image for image in content["images"] if counts[image["id"]] >= 2),
                    key=lambda image: counts[image["id"]])[:8]
    ids = {image["id"] for image in chosen}
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2017").mkdir()
    for image in chosen:
        shutil.copy(COCO / "train2017" / image["file_name"], folder / "train2017")
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps({
        **content, "images": chosen,
        "annotations": [one for one in content["annotations"] if one["image_id"] in ids]}), encoding="utf-8")


@pytest.mark.nightly
@pytest.mark.skipif(not COCO.is_dir(), reason="shared/data/coco_subset is not beside the project")
def test_eight_pictures_are_learned_by_heart(cli, tmp_path):
    """Proof that targets, losses and pasting agree on real polygons."""
    eight_pictures(tmp_path / "coco")
    done = cli.call("train", tmp_path, **FLAGS, coco_root=tmp_path / "coco", mindrecord_dir=tmp_path / "mindrecord",
                    output_path=tmp_path / "run", val_data_type="train2017", img_width=256, img_height=256,
                    batch_size=4, epoch_size=80, base_lr=0.0002, flip_ratio=0, eval_start_epoch=60, eval_interval=10,
                    save_checkpoint_epochs=80)
    assert done.returncode == 0, done.stderr[-2000:]
    assert best(tmp_path / "run", "AP50") > 0.9
    assert best(tmp_path / "run", "mask_AP50") > 0.85
