"""Predictions on disk: what is written reads back exactly, nothing half-written stays, bad files are named."""
import json
import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.errors import ProjectError, UsageError
from src.evaluation.predictions import PredictionWriter, check_predictions, merge_predictions, read_predictions
from src.ops.detections import Detections

ROW = {"image_id": 1, "category_id": 3, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}


def detections(boxes, scores, labels, masks=None):
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                      np.array(labels, np.int32), masks)


def test_rows_carry_width_height_and_the_data_sets_category_ids(tmp_path):
    with PredictionWriter(tmp_path / "predictions.json", category_ids=(7, 90)) as writer:
        writer.add(5, detections([[10, 20, 40, 60.5], [0, 0, 1, 1]], [0.75, 0.1], [1, 0]))
        writer.add(6, detections([], [], []))

    assert read_predictions(tmp_path / "predictions.json") == [
        {"image_id": 5, "category_id": 90, "bbox": [10.0, 20.0, 30.0, 40.5], "score": 0.75},
        {"image_id": 5, "category_id": 7, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.1}]
    assert writer.image_ids == {5, 6}
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.json"]


def test_an_image_set_without_any_detection_is_a_valid_file(tmp_path):
    with PredictionWriter(tmp_path / "out" / "predictions.json", (1,)) as writer:
        writer.add(1, detections([], [], []))
    assert read_predictions(tmp_path / "out" / "predictions.json") == []


def test_the_files_of_several_ranks_become_one(tmp_path):
    parts = [tmp_path / f"part_{rank}.json" for rank in range(3)]
    for rank, found in enumerate(([(7, 0.5), (9, 0.25)], [], [(8, 0.75)])):
        with PredictionWriter(parts[rank], (3,)) as writer:
            for image_id, score in found:
                writer.add(image_id, detections([[0, 0, 1, 1]], [score], [0]))
    merge_predictions(parts, tmp_path / "all.json")
    assert [(row["image_id"], row["score"]) for row in read_predictions(tmp_path / "all.json")] == [
        (7, 0.5), (9, 0.25), (8, 0.75)]
    assert [file.name for file in tmp_path.iterdir()] == ["all.json"]


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_scores_read_back_as_the_same_float32(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("scores") / "predictions.json"
    with PredictionWriter(path, (1,)) as writer:
        writer.add(1, detections([[0, 0, 1, 1]] * len(scores), scores, [0] * len(scores)))
    assert [np.float32(row["score"]) for row in read_predictions(path)] == [np.float32(score) for score in scores]


def test_masks_are_written_as_text(tmp_path):
    coco_mask = pytest.importorskip("pycocotools.mask")
    rle = coco_mask.encode(np.asfortranarray(np.eye(4, dtype=np.uint8)))
    with PredictionWriter(tmp_path / "p.json", (1,)) as writer:
        writer.add(1, detections([[0, 0, 4, 4]], [0.9], [0], [rle]))
    written = read_predictions(tmp_path / "p.json")[0]["segmentation"]
    assert written == {"size": [4, 4], "counts": rle["counts"].decode()}


def test_an_error_leaves_no_file_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "predictions.json"
    path.write_text("[]")
    with pytest.raises(KeyboardInterrupt), PredictionWriter(path, (1,)) as writer:
        writer.add(1, detections([[0, 0, 1, 1]], [0.5], [0]))
        raise KeyboardInterrupt
    assert path.read_text() == "[]"
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.json"]


def test_ctrl_c_keeps_the_images_so_far_under_a_name_of_their_own(tmp_path, capsys):
    path, partial = tmp_path / "predictions.json", tmp_path / "predictions.partial.json"
    with pytest.raises(KeyboardInterrupt), PredictionWriter(path, (1,), keep_partial=True) as writer:
        for image_id in range(3):
            writer.add(image_id, detections([[0, 0, 1, 1], [0, 0, 2, 2]], [0.5, 0.25], [0, 0]))
        raise KeyboardInterrupt
    assert [row["image_id"] for row in read_predictions(partial)] == [0, 0, 1, 1, 2, 2]
    assert [file.name for file in tmp_path.iterdir()] == [partial.name]
    assert capsys.readouterr().out == f"{partial}: the detections of the first 3 images\n"

    with PredictionWriter(path, (1,), keep_partial=True):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.json"], "complete ones replace them"


def test_a_full_disk_keeps_the_images_that_are_complete_on_it(tmp_path):
    path, room = tmp_path / "predictions.json", 20_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))    # a file that grows beyond it is an OSError
    try:
        with pytest.raises(ProjectError, match="predictions.json: cannot be written .*make room"), \
                PredictionWriter(path, (1,), keep_partial=True) as writer:
            for image_id in range(10_000):
                writer.add(image_id, detections([[0, 0, 1, 1], [0, 0, 2, 2]], [0.5, 0.25], [0, 0]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (partial,) = tmp_path.iterdir()
    ids = [row["image_id"] for row in read_predictions(partial)]
    assert partial.name == "predictions.partial.json" and 0.9 * room < partial.stat().st_size < room
    assert ids == sorted([*range(len(ids) // 2), *range(len(ids) // 2)]), "no image with some of its detections"


@pytest.mark.parametrize("wrong, message", [
    (detections([[0, 0, np.nan, 1]], [0.5], [0]), "image 3: .* not finite"),
    (detections([[0, 0, 1, 1]], [np.inf], [0]), "image 3: .* not finite"),
    (detections([[0, 0, 1, 1]], [0.5], [2]), "image 3: label 2 .* 2 classes"),
])
def test_what_a_network_must_not_say_is_refused(tmp_path, wrong, message):
    with pytest.raises(ProjectError, match=message), PredictionWriter(tmp_path / "p.json", (1, 2)) as writer:
        writer.add(3, wrong)
    assert not list(tmp_path.iterdir())


def test_an_image_counts_once(tmp_path):
    with pytest.raises(ValueError, match="image 4"), PredictionWriter(tmp_path / "p.json", (1,)) as writer:
        writer.add(4, detections([], [], []))
        writer.add(4, detections([], [], []))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="cannot be written"), PredictionWriter(tmp_path / "file" / "p.json", (1,)):
        pass


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """30,000 detections take more than 2 MB on disk; in memory, the image ids and one image at a time."""
    boxes = np.tile(np.float32([1.5, 2.25, 100.125, 200.1]), (100, 1))
    one_image = Detections(boxes, np.linspace(0, 1, 100, dtype=np.float32), np.zeros(100, np.int32))
    with PredictionWriter(tmp_path / "p.json", (1,)) as writer:
        writer.add(0, one_image)
        tracemalloc.start()
        for image_id in range(1, 300):
            writer.add(image_id, one_image)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 300_000
    assert (tmp_path / "p.json").stat().st_size > 2_000_000


@pytest.mark.parametrize("change, named", [
    ({"image_id": "1"}, "image_id is '1'"),
    ({"image_id": True}, "image_id is True"),
    ({"category_id": None}, "category_id is None"),
    ({"score": float("nan")}, "score is nan"),
    ({"bbox": [1, 2, 3]}, r"bbox is \[1, 2, 3\]"),
    ({"bbox": [1, 2, 3, float("inf")]}, "bbox is"),
    ({"bbox": None}, "neither bbox nor segmentation"),
    ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, "not a compressed run-length encoding"),
    ({"segmentation": {"size": [4, 4], "counts": "0P"}}, "not a compressed run-length encoding"),
    ({"segmentation": {"size": [0, 4], "counts": "0"}}, "not a compressed run-length encoding"),
])
def test_malformed_rows_are_named_by_number(change, named):
    with pytest.raises(ProjectError, match=f"p.json, detection 2: .*{named}"):
        check_predictions([ROW, {**ROW, **change}], "p.json")


def test_ids_may_be_as_large_as_those_of_annotations():
    row = {"image_id": 2 ** 63 - 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}
    check_predictions([row], "a.json")
    for wrong in (2 ** 63, 1.5, True):
        with pytest.raises(ProjectError, match="detection 1: image_id is"):
            check_predictions([{**row, "image_id": wrong}], "a.json")


def test_files_that_hold_no_predictions(tmp_path):
    with pytest.raises(UsageError, match="missing.json"):
        read_predictions(tmp_path / "missing.json")
    for content in (b"", b"[1", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b"[[]]"):
        path = tmp_path / "p.json"
        path.write_bytes(content)
        with pytest.raises(ProjectError, match="p.json"):
            read_predictions(path)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                           lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
                           max_leaves=6)


@given(st.sampled_from(["image_id", "category_id", "bbox", "score", "segmentation"]), json_values,
       st.binary(max_size=3), st.integers(0, 200))
@settings(max_examples=200, deadline=None)
def test_mutated_files_end_in_a_project_error_or_valid_rows(tmp_path_factory, key, value, splice, position):
    path = tmp_path_factory.mktemp("mutated") / "p.json"
    content = json.dumps([ROW, {**ROW, key: value}]).encode()
    path.write_bytes(content[:position] + splice + content[position:])
    try:
        rows = read_predictions(path)
    except ProjectError:
        return
    check_predictions(rows, path)
