"""Which split train.py evaluates: asked of its own function, without a training."""
from __future__ import annotations

import importlib.util
import shutil
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


def test_without_a_validation_split_a_training_says_that_it_is_not_evaluated(tmp_path, capsys):
    draw_shapes(tmp_path / "set", train=1, val=1)
    shutil.rmtree(tmp_path / "set" / "val2017")
    assert validation(tmp_path / "set") is None
    assert "no evaluation while training: " in capsys.readouterr().out
    with pytest.raises(UsageError, match="val2017"):
        validation(tmp_path / "set", "--run_eval", "True")


@pytest.mark.parametrize("flags", [(), ("--run_eval", "True")])
def test_a_validation_split_that_is_named_has_to_be_there(shapes, flags):
    with pytest.raises(UsageError, match="val2018"):
        validation(shapes, "--val_data_type", "val2018", *flags)
    with pytest.raises(UsageError, match="vall.txt': no such file; set val_anno_path"):
        rows(shapes, "--val_anno_path", str(shapes / "vall.txt"), *flags)


def test_training_images_are_not_taken_for_a_validation_split_unless_told_so(shapes, capsys):
    assert rows(shapes) is None
    assert "no evaluation while training: the settings name no validation split" in capsys.readouterr().out
    assert len(rows(shapes, "--run_eval", "True").records) == 1


def rows(shapes: Path, *flags: str):
    (shapes / "rows.txt").write_text("000000000001.jpg 1,1,9,9,1\n")
    return validation(shapes, "--dataset", "txt", "--image_dir", str(shapes / "train2017"), "--anno_path",
                      str(shapes / "rows.txt"), "--classes", "circle", *flags, classes=("circle",))


def test_a_contradiction_is_an_error_with_and_without_run_eval(shapes):
    with pytest.raises(ConfigError, match="num_classes is 7"):
        validation(shapes, "--num_classes", "7")
