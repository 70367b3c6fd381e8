"""Which split train.py evaluates: asked of its own function, without a training."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from src.command_line import load_config
from src.data.shapes import draw_shapes
from src.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("train", ROOT / "train.py")
train = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(train)
CLASSES = ("circle", "rectangle", "triangle")


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes(folder, train=2, val=1)
    return folder


def validation(shapes: Path, *flags: str, classes=CLASSES):
    config = load_config(["--model_name", "ssd300", "--coco_root", str(shapes), *flags], "train")
    return train.load_validation_set(config, classes)


def test_a_validation_split_is_evaluated_unless_it_is_switched_off(shapes):
    assert len(validation(shapes).records) == 1
    assert validation(shapes, "--run_eval", "False") is None


def test_without_a_validation_split_a_training_says_that_it_is_not_evaluated(shapes, capsys):
    assert validation(shapes, "--val_data_type", "val2018") is None
    assert "no evaluation while training" in capsys.readouterr().out
    with pytest.raises(UsageError, match="val2018"):
        validation(shapes, "--val_data_type", "val2018", "--run_eval", "True")


def test_a_contradiction_is_an_error_with_and_without_run_eval(shapes):
    with pytest.raises(ConfigError, match="num_classes is 7"):
        validation(shapes, "--num_classes", "7")
