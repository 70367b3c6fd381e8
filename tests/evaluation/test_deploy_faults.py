"""Situations from public bug reports around evaluation and export: each ends right or in a message that is true.

`python tests/evaluation/test_deploy_faults.py` prints the table: situation, before, now, and the test that defends it.
"""
from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from src.data.annotations import load_split  # noqa: E402
from src.data.audit import examine  # noqa: E402
from src.data.coco_json import load_coco, to_coco  # noqa: E402
from src.data.records import AnnotationSet  # noqa: E402
from src.data.shapes import draw_shapes  # noqa: E402
from src.errors import DatasetError  # noqa: E402
from src.evaluation.coco import evaluate_coco  # noqa: E402
from src.evaluation.evaluate import draw_images  # noqa: E402
from src.evaluation.image_names import image_names  # noqa: E402
from src.evaluation.thresholds import ScoreThreshold  # noqa: E402
from src.settings.schema import DataSection  # noqa: E402

INPUTS = ROOT.parent / "shared" / "faults" / "deploy"


class Row(NamedTuple):
    """before: what commit 4221d26 made of it. test: of this file, or file::name."""

    situation: str
    before: str
    now: str
    test: str


EXPORT, PREDICTIONS, MODEL_FILE = "test_export.py", "evaluation/test_predictions.py", "evaluation/test_model_file.py"
FILES, APPLICATION = "conversion/test_weight_files.py", "cli/test_application.py"
ROWS = [
    Row("a dot in --file_name", "description of another model overwritten, AP .592 -> .231", "own description",
        f"{EXPORT}::test_each_name_has_a_description_of_its_own_which_the_commands_read"),
    Row("--file_name ssd.onnx of a MINDIR, '.', ''", "ssd.onnx.mindir; internal error", "wrong use",
        f"{EXPORT}::test_what_is_no_name_or_of_another_format_is_wrong_use"),
    Row("settings that contradict the checkpoint", "AP .592 -> .115, rc 0", "error with both values",
        "test_conditions.py::test_without_a_configuration_the_settings_are_those_of_the_file"),
    Row("a description file with another mean", "ignored by eval.py", "error",
        "test_conditions.py::test_a_description_file_that_was_changed_is_not_ignored"),
    Row("NaN in weights", "AP .007, rc 0", "error with the parameter",
        "test_checkpoint.py::test_weights_that_are_not_finite_are_refused_by_name"),
    Row("NaN in outputs", "fewer detections, rc 0", "error with the image",
        "evaluation/test_predictor.py::test_numbers_that_are_not_finite_are_refused_by_image"),
    Row("NaN in results of the C++ application", "fewer detections, rc 0", "error with the image",
        "evaluation/test_result_files.py::test_results_that_are_not_finite_are_an_error_not_fewer_detections"),
    Row("area negative, huge, 0 or 1", "objects ignored, AP .592 -> .467", "area of the outline",
        "test_an_area_that_is_none_moves_no_number"),
    Row("VOC classes in capitals", "14 objects vanished, AP .561 -> .474", "error with both names",
        "test_class_names_in_capitals_are_an_error"),
    Row("objects of classes the model lacks", "vanished, or 'no annotation', rc 0", "counted, or an error",
        "evaluation/test_evaluate.py::test_objects_of_classes_that_the_model_lacks_are_counted"),
    Row("images of equal names in two folders", "3 of 6 drawn", "6 of 6",
        "test_images_of_equal_names_keep_names_of_their_own"),
    Row("names that are times, ids to 2^63", "evaluation failed, training lost", "measured",
        "test_ids_of_any_size_are_measured"),
    Row("a set without one of the model's classes", "refused", "measured", "test_a_set_without_a_class_is_measured"),
    Row("export into a folder with blanks, letters, ()+,=~#", "internal error", "exported",
        f"{EXPORT}::test_a_graph_is_exported_into_a_folder_of_any_name"),
    Row("predict.py: Ctrl-C, full disk", "all results lost", "those so far are kept",
        "test_api.py::test_what_was_found_before_the_disk_was_full_stays"),
    Row("eval.py: Ctrl-C", "all results lost", "predictions.partial.json",
        f"{PREDICTIONS}::test_ctrl_c_keeps_the_images_so_far_under_a_name_of_their_own"),
    Row("eval.py: full disk", "all results lost", "predictions.partial.json",
        f"{PREDICTIONS}::test_a_full_disk_keeps_the_images_that_are_complete_on_it"),
    Row("max_image_pixels behind the audit", "refused after the audit", "used everywhere",
        "evaluation/test_evaluate.py::test_images_that_the_audit_has_accepted_are_read_whatever_the_readers_limit_is"),
    Row("max_image_pixels in C++", "constant", "a flag", f"{APPLICATION}::test_the_limit_of_pixels_is_a_flag"),
    Row("file names that are not UTF-8", "no result readable", "the image is named",
        "evaluation/test_result_files.py::test_names_that_are_not_utf_8_are_refused"),
    Row("drawn images of eval.py under such a name", "refused", "drawn", "test_images_of_any_name_are_drawn"),
    Row("ONNX with an open batch", "TypeError", "runs",
        f"{MODEL_FILE}::test_an_onnx_file_may_leave_its_batch_size_open"),
    Row("ONNX in float16", "internal error", "error with the type",
        "evaluation/test_predictor.py::test_an_onnx_file_of_half_precision_is_named"),
    Row("MINDIR of batch 4 without its json", "internal error", "error with the json",
        f"{MODEL_FILE}::test_a_mindir_without_its_description_file_that_does_not_fit_is_explained"),
    Row("state_dict with module., in net, with averages", "refused, or averages ignored", "taken and said",
        f"{FILES}::test_the_prefix_of_a_wrapper_is_taken_off_and_said"),
    Row(".npz, TorchScript", "'may be damaged'", "format named",
        f"{FILES}::test_a_file_of_another_format_is_named_and_not_called_damaged"),
    Row("full disk at the first checkpoint", "'continue with --resume'", "nothing to resume is said",
        "test_checkpoint.py::test_a_disk_that_is_full_at_the_first_checkpoint_has_nothing_to_resume"),
    Row("full disk in eval.py's audit", "'choose another --report_dir'", "'make room'",
        "test_a_full_disk_is_not_answered_with_a_flag_of_another_program"),
    Row(".ONNX in capitals in C++", "unknown kind", "runs",
        f"{APPLICATION}::test_the_model_s_ending_may_be_in_capitals"),
    Row("lists with a byte order mark or comments", "'does not exist'", "read",
        "test_api.py::test_a_list_may_begin_with_a_byte_order_mark_and_hold_comments"),
    Row("VOC with --report False", "no VOC table", "the table",
        "cli/test_formats.py::test_voc_is_evaluated_to_the_ap_of_coco"),
    Row("150 objects of a class in an image", "AP .663 without a word", "said",
        "evaluation/test_evaluate.py::test_more_objects_than_the_metric_counts_detections_are_named"),
    Row("build.sh without OpenCV", "CMake's message", "'make cpp-deps'",
        f"{APPLICATION}::test_a_missing_library_is_named_with_what_installs_it"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
def test_every_row_has_its_test(row):
    file, _, name = row.test.rpartition("::")
    path = ROOT / "tests" / file if file else Path(__file__)
    assert re.search(rf"^def {name}\(", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    draw_shapes(folder, train=1, val=7, size=(320, 240))
    return folder


def read(folder: Path, change: Callable[[dict], None] = lambda _: None, classes: tuple[str, ...] | None = None,
         may_lack: bool = False) -> AnnotationSet:
    """The audited validation annotations of the drawn set after a change of their json."""
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text(encoding="utf-8"))
    change(content)
    path = folder / "annotations" / "changed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return examine(load_coco(path, folder / "val2017", classes, may_lack), progress=False).annotations


def summary(annotations: AnnotationSet, shift: float = 0.1) -> dict[str, float]:
    """COCO's numbers of detections that are the objects, shifted by a part of their size."""
    truth = to_coco(annotations)
    rows = [{"image_id": row["image_id"], "category_id": row["category_id"], "score": 0.9 - 0.001 * number,
             "bbox": [row["bbox"][0] + shift * row["bbox"][2], *row["bbox"][1:]]}
            for number, row in enumerate(truth["annotations"])]
    return evaluate_coco(truth, rows).summary


@pytest.mark.parametrize("area", [-100.0, 1e11, 0.0, 1.0, "clockwise"])
def test_an_area_that_is_none_moves_no_number(drawn, area):
    def change(content: dict) -> None:
        for row in content["annotations"][::1 if area == 1.0 else 2]:
            row["area"] = -row["area"] if area == "clockwise" else area

    wanted = summary(read(drawn))
    assert 0 < wanted["AP"] < 1
    assert summary(read(drawn, change)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("largest", [1e12, 2 ** 53 + 8, 2 ** 63 - 1])
def test_ids_of_any_size_are_measured(drawn, largest):
    def change(content: dict) -> None:
        ids = sorted(image["id"] for image in content["images"])
        new = {image_id: int(largest) - len(ids) + number for number, image_id in enumerate(ids, 1)}
        for image in content["images"]:
            image["id"] = new[image["id"]]
        for row in content["annotations"]:
            row["image_id"] = new[row["image_id"]]

    assert summary(read(drawn, change)) == pytest.approx(summary(read(drawn)), abs=1e-6)


def test_a_set_without_a_class_is_measured(drawn):
    def change(content: dict) -> None:
        lost = next(one["id"] for one in content["categories"] if one["name"] == "triangle")
        content["categories"] = [one for one in content["categories"] if one["id"] != lost]
        content["annotations"] = [row for row in content["annotations"] if row["category_id"] != lost]

    found = read(drawn, change, ("circle", "rectangle", "triangle"), may_lack=True)
    assert found.classes == ("circle", "rectangle", "triangle") and summary(found, shift=0)["AP"] == pytest.approx(1)


def deploy(name: str, **settings: object) -> DataSection:
    if not INPUTS.is_dir():
        pytest.skip("needs ../shared/faults/deploy")
    return DataSection(**{**settings, f"{settings['dataset']}_root": str(INPUTS / name)})


def test_image_ids_from_names_that_are_times_are_measured():
    annotations = examine(load_split(deploy("voc_time_stamp_names", dataset="voc"), "val"), progress=False).annotations
    assert annotations.records[0].image_id > 2 ** 53
    assert summary(annotations, shift=0)["AP"] == pytest.approx(1)


def test_class_names_in_capitals_are_an_error():
    classes = ("circle", "rectangle", "triangle")
    report = examine(load_split(deploy("voc_class_names_in_capitals", dataset="voc"), "val", classes), progress=False)
    (finding,) = (one for one in report.findings if one.kind == "absent_class")
    assert "14 objects of 'Circle' left out, because the class is 'circle'" in finding.value
    assert finding.action == "error"


def test_images_of_equal_names_keep_names_of_their_own():
    records = load_split(deploy("coco_equal_stems", dataset="coco"), "val").records
    names = image_names(record.image_path for record in records)
    assert sorted(names.values()) == [f"{folder}/000{number}" for folder in "ab" for number in range(3)]


def test_images_of_any_name_are_drawn(drawn, tmp_path):
    first = read(drawn).records[0]
    path = tmp_path / "lat\udce4in.jpg"
    path.write_bytes(first.image_path.read_bytes())
    annotations = replace(read(drawn), records=(replace(first, image_path=path),))
    draw_images(annotations, [], ScoreThreshold(0.5, "test"), tmp_path / "out")
    assert sorted(one.parent.name for one in (tmp_path / "out").glob("*/lat?in.jpg")) == ["gt_image", "pred_image"]


def test_a_full_disk_is_not_answered_with_a_flag_of_another_program(drawn, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    report = examine(load_coco(drawn / "annotations" / "instances_val2017.json", drawn / "val2017"), progress=False)
    monkeypatch.setattr("src.data.audit_report.write_file", full)
    with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\); make room$"):
        report.write(tmp_path)


if __name__ == "__main__":
    for row in ROWS:
        print(*row, sep=" | ")
