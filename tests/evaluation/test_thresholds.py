"""The score threshold with the best F1: measured, stored beside a model, read back, overruled."""
import json

import pytest

from src.command_line import load_config
from src.errors import CheckpointError
from src.evaluation import analysis
from src.evaluation.evaluate import choose_threshold
from src.evaluation.matching import group_by_image
from src.evaluation.model_file import ModelFile
from src.evaluation.thresholds import (
    Thresholds,
    measure_thresholds,
    score_threshold,
    store_thresholds,
    stored_thresholds,
)
from tests.evaluation.test_analysis import GROUND_TRUTH, IMAGES

MEASURED = Thresholds(0.9, 4 / 7, {"cat": {"threshold": 0.9, "f1": 2 / 3}, "dog": None}, "val", 3)


@pytest.fixture
def config():
    return load_config(["--model_name", "ssd300"], "eval")


def test_overall_and_per_class_by_hand():
    """All: two right of two at 0.9, five objects: 4/7. Cats: one of one at 0.9, two objects: 2/3. Dogs: one of one at
    0.95, three objects: 2/4."""
    found = measure_thresholds(IMAGES, ["cat", "dog"], "val")
    assert (found.threshold, found.f1, found.split, found.images) == (0.9, pytest.approx(4 / 7), "val", 3)
    assert found.per_class["cat"] == {"threshold": 0.9, "f1": pytest.approx(2 / 3)}
    assert found.per_class["dog"] == {"threshold": 0.95, "f1": pytest.approx(1 / 2)}


def test_without_a_right_detection_there_is_no_threshold():
    assert measure_thresholds(group_by_image(GROUND_TRUTH, []), ["cat", "dog"], "val") is None


def test_the_curve_has_one_point_per_score():
    curve = analysis.f1_curve(IMAGES)
    assert curve.scores.tolist() == [0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert curve.f1 == pytest.approx([2 / 6, 4 / 7, 4 / 8, 4 / 9, 4 / 10, 4 / 11, 4 / 12])


def test_what_was_stored_is_read_back(tmp_path):
    store_thresholds(tmp_path / "best_map.ckpt", MEASURED)
    assert (tmp_path / "best_map.thresholds.json").is_file()
    assert stored_thresholds(tmp_path / "best_map.ckpt") == MEASURED
    store_thresholds(tmp_path / "best_map.ckpt", None)
    assert stored_thresholds(tmp_path / "best_map.ckpt") is None


def test_an_exported_model_brings_the_threshold_in_its_description(tmp_path):
    description = {"thresholds": {"threshold": 0.5, "f1": 0.8, "per_class": {}, "split": "val", "images": 7}}
    assert stored_thresholds(tmp_path / "ssd.onnx", description).threshold == 0.5


@pytest.mark.parametrize("content", ["{", "[]", '{"threshold": 0.5}', json.dumps(
    {"threshold": "0.5", "f1": 0.8, "per_class": {}, "split": "val", "images": 7}), json.dumps(
    {"threshold": 7, "f1": 0.8, "per_class": {}, "split": "val", "images": 7})])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.thresholds.json").write_text(content)
    with pytest.raises(CheckpointError, match="a.thresholds.json cannot be read"):
        stored_thresholds(tmp_path / "a.ckpt")


def test_the_setting_wins_over_the_stored_threshold_and_that_over_the_default():
    assert str(score_threshold(0.2, MEASURED)) == "0.200 (setting report_score_threshold)"
    assert str(score_threshold(None, MEASURED)) == "0.900 (best F1, 0.571, on the 3 images of the val split)"
    assert score_threshold(None, None).value == 0.3
    assert "default" in score_threshold(None, None).reason


def test_an_evaluation_stores_what_it_measured(tmp_path, config, capsys):
    assert choose_threshold(config, ModelFile(tmp_path / "a.ckpt"), MEASURED).value == 0.9
    assert stored_thresholds(tmp_path / "a.ckpt") == MEASURED
    assert "score threshold: 0.900 (best F1" in capsys.readouterr().out


def test_the_test_split_is_counted_at_the_threshold_of_the_validation_split(tmp_path, config):
    store_thresholds(tmp_path / "a.ckpt", MEASURED)
    of_test = Thresholds(0.4, 0.7, {}, "test", 5)
    assert choose_threshold(config, ModelFile(tmp_path / "a.ckpt"), of_test).value == 0.9
    assert stored_thresholds(tmp_path / "a.ckpt") == MEASURED


def test_a_folder_that_cannot_be_written_does_not_end_the_evaluation(tmp_path, config, capsys):
    assert choose_threshold(config, ModelFile(tmp_path / "gone" / "a.ckpt"), MEASURED).value == 0.9
    assert "are not stored" in capsys.readouterr().out
