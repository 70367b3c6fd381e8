"""What is promised about accuracy; minutes to hours of training, so it is left to `make nightly`."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.shapes import draw_shapes
from src.engine.curves import read_metrics

ROOT = Path(__file__).resolve().parents[2]
BCCD = ROOT / ".." / "shared" / "data" / "bccd_voc" / "BCCD"


@pytest.mark.nightly
def test_the_demo_detects_shapes_in_pictures_it_was_not_trained_on(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(["bash", "scripts/demo.sh", str(tmp_path / "demo")], cwd=ROOT, env=environment, text=True,
                          capture_output=True)

    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint, onnx_file = (float(value) for value in re.findall(r"^mAP: (\S+)$", done.stdout, re.MULTILINE))
    ap50 = float(re.search(r"IoU=0\.50 +\| area= +all .* = (\S+)", done.stdout)[1])
    assert checkpoint >= 0.40 and ap50 >= 0.75
    assert abs(checkpoint - onnx_file) <= 1e-4


@pytest.mark.nightly
def test_a_pyramid_learns_the_drawn_set_at_half_its_input_size(cli, tmp_path):
    """The flags of docs/training.md, "Small data sets"."""
    draw_shapes(tmp_path / "shapes")
    done = cli.call(
        "train", tmp_path, model_name="ssd_mobilenet_v1_fpn", feature_extractor_base_param="none", img_shape="320,320",
        coco_root=tmp_path / "shapes", mindrecord_dir=tmp_path / "mindrecord", output_path=tmp_path / "run",
        num_addition_layers=1, batch_size=4, epoch_size=12, background_loss=False, initial_score=0.01, opt_type="adam",
        lr=0.001, lr_init=0.0001, weight_decay=0.01, warmup_epochs=0.5, ema_decay=0.98, crop_tries=0,
        color_jitter="0,0,0", run_eval=True, eval_start_epoch=6, eval_interval=2, min_score=0.05, nms_threshold=0.5)
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(line["AP50"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "AP50" in line) >= 0.8


@pytest.mark.nightly
@pytest.mark.skipif(not BCCD.is_dir(), reason="shared/data/bccd_voc is not beside the project")
def test_who_knows_shapes_learns_cells_faster(tmp_path):
    done = subprocess.run([sys.executable, "benchmarks/transfer.py", "--voc_root", str(BCCD),
                           "--output_path", str(tmp_path / "transfer")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    measured = json.loads(done.stdout)
    assert measured["transferred"]["AP"] > measured["from scratch"]["AP"]
