"""convert_checkpoint.py as users call it."""
from __future__ import annotations

import mindspore as ms
import pytest
from golden import Golden
from mindspore import Tensor

from src.checkpoint import read_weights
from src.conversion.coco_classes import COCO_CLASSES
from src.detectors import build_detector, load_config


def test_the_command_writes_a_checkpoint_with_the_golden_weights(cli, tmp_path):
    golden = Golden("ssd300")
    ms.save_checkpoint([{"name": key, "data": Tensor(golden.value(key, shape))}
                        for key, shape, _ in golden.parameters()], str(tmp_path / "ssd-500_458.ckpt"))
    done = cli.call("convert_checkpoint", tmp_path, ckpt_file="ssd-500_458.ckpt", model="ssd300")
    assert done.returncode == 0, done.stderr
    assert "detector of zoo, 409 arrays" in done.stdout and "written: ssd300.ckpt" in done.stdout
    weights = read_weights(tmp_path / "ssd300.ckpt")
    assert (weights.model_name, weights.classes) == ("ssd300", COCO_CLASSES)
    detector = build_detector(load_config(["--model_name", "ssd300"], "convert"), COCO_CLASSES)
    for key, shape, _ in golden.parameters():
        assert (weights.arrays[detector.from_zoo(key)] == golden.value(key, shape)).all(), key


@pytest.mark.parametrize("flags, code, words", [
    ({"help": "true"}, 0, "usage: python convert_checkpoint.py --ckpt_file FILE"),
    ({"model": "ssd300"}, 2, "no weights given; add --ckpt_file FILE"),
    ({"model": "ssd300", "ckpt_file": "none.pth"}, 2, "none.pth does not exist"),
    ({"model": "yolo", "ckpt_file": "none.pth"}, 2, "unknown model 'yolo'; available: ssd300"),
    ({"model": "ssd300", "ckpt_file": "a", "source": "keras"}, 2, "--source keras: choose one of zoo, torchvision"),
])
def test_wrong_use_is_answered_with_what_to_do(cli, tmp_path, flags, code, words):
    done = cli.call("convert_checkpoint", tmp_path, **flags)
    assert done.returncode == code and words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())
