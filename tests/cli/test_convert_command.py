"""convert_checkpoint.py as users call it."""
from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from golden import Golden
from mindspore import Tensor

from src.checkpoint import read_weights
from src.command_line import load_config
from src.conversion.coco_classes import COCO_CLASSES
from src.models import build_detector

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_the_command_writes_a_checkpoint_with_the_golden_weights(cli, tmp_path):
    golden = Golden("ssd300")
    ms.save_checkpoint([{"name": key, "data": Tensor(golden.value(key, shape))}
                        for key, shape, _ in golden.parameters()], str(tmp_path / "ssd-500_458.ckpt"))
    done = cli.call("convert_checkpoint", tmp_path, ckpt_file="ssd-500_458.ckpt", model="ssd300")
    assert done.returncode == 0, done.stderr
    assert "detector of zoo, 409 arrays" in done.stdout and "written: ssd300.ckpt" in done.stdout
    weights = read_weights(tmp_path / "ssd300.ckpt")
    assert (weights.model_name, weights.classes) == ("ssd300", COCO_CLASSES)
    assert (weights.conditions["img_shape"], weights.conditions["prior_scaling"]) == ([300, 300], [0.1, 0.2])
    detector = build_detector(load_config(["--model_name", "ssd300"], "convert"), COCO_CLASSES)
    for key, shape, _ in golden.parameters():
        assert (weights.arrays[detector.from_zoo(key)] == golden.value(key, shape)).all(), key


def test_the_old_command_takes_a_resnet_without_being_told_for_what(cli, tmp_path):
    about = json.loads((GOLDEN / "faster_rcnn_r50" / "params.json").read_text(encoding="utf-8"))
    shapes = {key: shape for key, shape, *_ in about["params"]}
    keys = about["backbone_pretrained"]["converted_file_keys"]
    ms.save_checkpoint([{"name": key, "data": Tensor(np.full(shapes[key], place, np.float32))}
                        for place, key in enumerate(keys)], str(tmp_path / "resnet50.ckpt"))
    done = cli.call("convert_checkpoint", tmp_path, ckpt_file="resnet50.ckpt")
    assert done.returncode == 0, done.stderr
    assert "backbone of zoo, 265 arrays" in done.stdout
    assert "written: faster_rcnn_resnet50_backbone.ckpt" in done.stdout
    weights = read_weights(tmp_path / "faster_rcnn_resnet50_backbone.ckpt")
    assert len(weights.arrays) == len(keys) and all(name.startswith("backbone.") for name in weights.arrays)
    assert (weights.arrays["backbone.stem.conv.weight"] == keys.index("backbone.conv1.weight")).all()


@pytest.mark.parametrize("flags, code, words", [
    ({"help": "true"}, 0, "usage: python convert_checkpoint.py --ckpt_file FILE"),
    ({"model": "ssd300"}, 2, "no weights given; add --ckpt_file FILE"),
    ({"model": "ssd300", "ckpt_file": "a.pth", "output": "b"}, 2, "--output b: give a name that ends in .ckpt"),
    ({"model": "ssd300", "ckpt_file": "none.pth"}, 2, "none.pth does not exist"),
    ({"model": "ssd300", "ckpt_file": "a", "source": "keras"}, 2, "--source keras: choose one of zoo, "),
])
def test_wrong_use_is_answered_with_what_to_do(cli, tmp_path, flags, code, words):
    done = cli.call("convert_checkpoint", tmp_path, **flags)
    assert done.returncode == code and words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("flags, words", [
    ({"model": "yolo"}, "unknown model 'yolo'; available: ssd300"),
    ({}, "weights.pth: its names do not say which model it is for; add --model NAME"),
])
def test_the_model_has_to_be_known(cli, tmp_path, flags, words):
    (tmp_path / "weights.pth").write_bytes((GOLDEN / "weight_files" / "zip.pth").read_bytes())
    done = cli.call("convert_checkpoint", tmp_path, ckpt_file="weights.pth", **flags)
    assert done.returncode == 2 and words in done.stderr
