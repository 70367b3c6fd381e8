"""The score threshold with the best F1: measured, stored beside a model, read back, overruled."""
import json

import numpy as np
import pytest

from src.command_line import load_config
from src.errors import CheckpointError
from src.evaluation import analysis
from src.evaluation.evaluate import choose_threshold
from src.evaluation.matching import ImageBoxes, group_by_image
from src.evaluation.model_file import ModelFile
from src.evaluation.thresholds import (
    Thresholds,
    measure_thresholds,
    score_threshold,
    shown_detections,
    store_thresholds,
    stored_thresholds,
)
from src.ops.detections import Detections
from src.ops.nms import suppress_across_classes
from tests.evaluation.test_analysis import GROUND_TRUTH, IMAGES, data_set

MEASURED = Thresholds(0.9, 4 / 7, "val", 3, None, 4 / 7)


@pytest.fixture
def config():
    return load_config(["--model_name", "ssd300"], "eval")


def test_the_best_f1_by_hand():
    """Two right of two at 0.9, five objects: 4/7. Suppression across classes gains nothing, so there is none."""
    found = measure_thresholds(IMAGES, "val")
    assert found == Thresholds(0.9, pytest.approx(4 / 7), "val", 3, None, pytest.approx(4 / 7))


def doubled() -> list:
    """Two cats, each with a good box, and a dog that covers nine tenths of it with a score between the two."""
    truth = data_set([(1, 1, [0, 0, 100, 100]), (1, 1, [200, 0, 100, 100])])
    rows = [(1, 1, [0, 0, 100, 100], 0.9), (1, 2, [0, 0, 100, 90], 0.8), (1, 1, [200, 0, 100, 100], 0.7),
            (1, 2, [200, 0, 100, 90], 0.6)]
    return group_by_image(truth, [{"image_id": image, "category_id": label, "bbox": box, "score": score}
                                  for image, label, box, score in rows])


def test_suppression_across_classes_is_stored_where_it_gives_the_better_f1(config):
    """With it both cats of two at 0.7: F1 1. Without: two of three at 0.7, 4/5."""
    found = measure_thresholds(doubled(), "val")
    assert found == Thresholds(0.7, 1.0, "val", 3, 0.5, pytest.approx(4 / 5))
    chosen = score_threshold(config.eval, found)
    assert chosen.agnostic_nms == 0.5
    assert str(chosen) == ("0.700 (best F1, 1.000 (0.800 without suppression across classes), on the 3 images of "
                           "the val split); without boxes that overlap a better one of any class by an IoU above 0.5")
    never = config.eval.model_copy(update={"agnostic_nms_threshold": 1.0})
    assert score_threshold(never, found).agnostic_nms == 1


def test_what_is_shown_is_what_was_measured(config):
    rows = [{"image_id": 1, "category_id": label, "bbox": box, "score": score}
            for label, box, score in ((1, [0, 0, 100, 100], 0.9), (2, [0, 0, 100, 90], 0.8), (2, [0, 0, 30, 30], 0.6))]
    across = score_threshold(config.eval, measure_thresholds(doubled(), "val"))
    assert shown_detections(rows, [1, 2], across)[1].scores.tolist() == [0.9]
    assert shown_detections(rows, [1, 2], across._replace(value=0.5))[1].scores.tolist() == [0.9, 0.6]
    assert shown_detections(rows, [1, 2], across._replace(agnostic_nms=None))[1].scores.tolist() == [0.9, 0.8]


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.7])
def test_boxes_of_the_metrics_and_of_the_predictor_are_suppressed_alike(iou):
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 60, (80, 2))
    found = Detections(np.column_stack([corners, corners + rng.uniform(10, 50, (80, 2))]).astype(np.float32),
                       np.sort(rng.random(80))[::-1].astype(np.float32), rng.integers(0, 3, 80).astype(np.int32))
    image = ImageBoxes(1, found.boxes.astype(float), found.scores, found.labels, np.empty((0, 4)), np.empty(0, int),
                       np.empty(0, bool))
    kept = image.suppressed_across_classes(iou)
    assert 5 < len(kept.scores) < 80
    np.testing.assert_array_equal(kept.scores, suppress_across_classes(found, iou).scores)


def test_without_a_right_detection_there_is_no_threshold():
    assert measure_thresholds(group_by_image(GROUND_TRUTH, []), "val") is None


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
    {"threshold": 7, "f1": 0.8, "split": "val", "images": 7}), json.dumps(
    {"threshold": 0.7, "f1": 0.8, "split": "val", "images": 7, "agnostic_nms": "0.5"})])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "a.thresholds.json").write_text(content)
    with pytest.raises(CheckpointError, match="a.thresholds.json cannot be read"):
        stored_thresholds(tmp_path / "a.ckpt")


def test_the_setting_wins_over_the_stored_threshold_and_that_over_the_default(config):
    given = config.eval.model_copy(update={"report_score_threshold": 0.2})
    assert str(score_threshold(given, MEASURED)) == "0.200 (setting report_score_threshold)"
    assert str(score_threshold(config.eval, MEASURED)) == "0.900 (best F1, 0.571, on the 3 images of the val split)"
    assert score_threshold(config.eval, None).value == 0.3
    assert "default" in score_threshold(config.eval, None).reason


def test_an_evaluation_stores_what_it_measured(tmp_path, config, capsys):
    assert choose_threshold(config, ModelFile(tmp_path / "a.ckpt"), MEASURED).value == 0.9
    assert stored_thresholds(tmp_path / "a.ckpt") == MEASURED
    assert "score threshold: 0.900 (best F1" in capsys.readouterr().out


def test_the_test_split_is_counted_at_the_threshold_of_the_validation_split(tmp_path, config):
    store_thresholds(tmp_path / "a.ckpt", MEASURED)
    of_test = Thresholds(0.4, 0.7, "test", 5)
    assert choose_threshold(config, ModelFile(tmp_path / "a.ckpt"), of_test).value == 0.9
    assert stored_thresholds(tmp_path / "a.ckpt") == MEASURED


def test_a_folder_that_cannot_be_written_does_not_end_the_evaluation(tmp_path, config, capsys):
    assert choose_threshold(config, ModelFile(tmp_path / "gone" / "a.ckpt"), MEASURED).value == 0.9
    assert "are not stored" in capsys.readouterr().out
