"""The old user's afternoon, for real on the CPU: the zoo's files train, and one model per family goes through its
scripts with a checkpoint of the zoo."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from golden import Golden
from recipe import value
from shipped_files import FILES, MODELS_OF_FILES

from src.models import MODELS

ROOT = Path(__file__).resolve().parents[2]
# What makes a step take seconds.
SMALL = {
    "ssd": {"img_shape": "96,96", "feature_extractor_base_param": "none"},
    "centernet": {"input_res_train": "96,96", "input_res_test": "96,96", "keep_res": False},
    "faster_rcnn": {"img_height": 96, "img_width": 128, "rpn_proposal_nms_pre": 100, "rpn_proposal_max_num": 100,
                    "num_expected_neg_stage2": 32, "num_expected_pos_stage2": 8, "pre_trained": "none",
                    "rpn_nms_pre": 50, "rpn_max_num": 50},
}
SMALL["mask_rcnn"] = SMALL["faster_rcnn"]
LARGER = {"ssd_vgg16": {"img_shape": "257,257"}}  # below it VGG16's last maps have no cell left


def small(model: str) -> dict:
    return {**SMALL[MODELS[model].family], **LARGER.get(model, {})}


def data_of(drawn) -> dict:
    return {"coco_root": drawn.flags["coco_root"], "classes": "circle,rectangle,triangle", "num_classes": "none"}


@pytest.mark.nightly
@pytest.mark.parametrize("name", MODELS_OF_FILES)
def test_a_file_of_the_zoo_trains_two_steps(cli, drawn, tmp_path, name):
    (tmp_path / "old.yaml").write_text(FILES[name])
    done = cli.call("train", tmp_path, config_path="old.yaml", output_path="run", mindrecord_dir=tmp_path / "records",
                    device_target="CPU", batch_size=2, epoch_size=1, train_steps=2, **data_of(drawn),
                    **small(MODELS_OF_FILES[name]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("epoch: 1 step: ")]) == 2
    assert list((tmp_path / "run/ckpt_0").glob("*_2.ckpt"))


# family: golden list of the zoo's checkpoint, its training script and evaluation script with their arguments
FAMILIES = {
    "ssd": ("ssd300", "run_standalone_train_cpu.sh 0 1 0.001 coco old.yaml zoo.ckpt 0", "LOG0/log.txt",
            "run_eval_cpu.sh coco zoo.ckpt 0 old.yaml"),
    "faster_rcnn": ("faster_rcnn_r50", "run_standalone_train_cpu.sh zoo.ckpt resnet50 shapes records", "train/log",
                    "run_eval_cpu.sh shapes/annotations/instances_val2017.json zoo.ckpt resnet50 shapes"),
    "mask_rcnn": ("maskrcnn_r50", "run_standalone_train_cpu.sh zoo.ckpt", "train/log",
                  "run_eval_cpu.sh shapes/annotations/instances_val2017.json zoo.ckpt"),
    "centernet": ("centernet_resnet50", "run_standalone_train_cpu.sh 0 records zoo.ckpt", "LOG0/training_log.txt",
                  "run_standalone_eval_cpu.sh 0 val shapes zoo.ckpt"),
}
COCO = ",".join(f"class{number}" for number in range(77))


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_the_zoo_goes_through_the_scripts_of_its_family(drawn, tmp_path, family):
    golden, train, log, evaluate = FAMILIES[family]
    ms.save_checkpoint([{"name": key, "data": ms.Tensor(value(key, tuple(shape), golden))}
                        for key, shape, _ in Golden(golden).parameters()], str(tmp_path / "zoo.ckpt"))
    (tmp_path / "shapes").symlink_to(drawn.flags["coco_root"])
    (tmp_path / "records").mkdir()
    (tmp_path / "old.yaml").write_text(FILES["official/cv/SSD/config/ssd300_config.yaml"])
    model = {"ssd": "ssd300", "centernet": "centernet_resnet50"}.get(family, f"{family}_resnet50")
    flags = {**small(model), "coco_root": "shapes", "run_eval": False, "num_classes": "none"}
    flags.pop("pre_trained", None)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DEVICE_ID": "5",
                   "RANK_SIZE": "8"}     # left by an earlier job

    def script(line: str, **more) -> str:
        name, *arguments = line.split()
        command = ["sh", ROOT / "scripts" / family / name, *arguments]
        command += [f"--{key}={value}" for key, value in {**flags, **more}.items()]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    names = f"circle,rectangle,triangle,{COCO}"     # the checkpoint has 80 classes, the drawn data three of them
    shown = script(evaluate, classes=names)
    assert np.isfinite(float(shown.split("mAP: ")[1].split()[0]))
    started = script(train, batch_size=2, epoch_size=1, train_steps=2, mindrecord_dir="records", filter_weight=True,
                     classes="circle,rectangle,triangle")
    assert "training starts from the" in started
    lines = (tmp_path / log).read_text().splitlines()
    assert len([line for line in lines if line.startswith("epoch: 1 step: ")]) == 2
