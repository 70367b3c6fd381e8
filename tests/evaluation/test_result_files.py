"""Result files of the C++ application: what is read, and what is said about those that are missing or wrong."""
from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.data.records import make_record
from src.errors import DatasetError, ResultError
from src.evaluation.image_names import image_names
from src.evaluation.result_files import ResultFiles, read_result_list
from src.ops.detections import Detections

OUTPUTS = [{"name": "boxes", "shape": [1, 2, 4], "type": "float32"}, {"name": "labels", "shape": [1, 2],
                                                                      "type": "int32"}]
PICTURE = {"height": 30, "width": 40, "orientation": 1}


class Scales:
    """Boxes of the network are parts of the picture."""

    def geometry(self, height, width):
        return np.array([width, height, width, height], np.float32)

    def postprocess(self, outputs, geometry):
        boxes, labels = outputs
        return Detections(boxes * geometry, np.ones(len(boxes), np.float32), labels)


def record(name: str = "a.jpg", size=(30, 40)):
    return make_record(Path("/pictures") / name, 7, size, [], "test")


@pytest.fixture
def write(tmp_path):
    """write(type of the boxes, pictures) -> ResultFiles of a folder with results of the pictures."""
    def make(kind="float32", pictures=None, outputs=OUTPUTS):
        pictures = {"a": PICTURE} if pictures is None else pictures
        boxes = np.array([[0, 0, 0.5, 0.5], [0.25, 0.5, 1, 1]], kind)
        about = [{"name": "boxes", "type": kind, "shape": [2, 4]}, {"name": "labels", "type": "int32", "shape": [2]}]
        for name in pictures:
            boxes.tofile(tmp_path / f"{name}_0.bin")
            np.array([4, 2], np.int32).tofile(tmp_path / f"{name}_1.bin")
        (tmp_path / "outputs.json").write_text(json.dumps({"outputs": about, "pictures": pictures}))
        return ResultFiles(Scales(), tmp_path, outputs)

    return make


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_results_are_decoded_in_the_picture_s_pixels(write, kind):
    ((key, found),) = write(kind).stream([("key", record())], None, 1)
    assert key == "key"
    assert found.boxes.dtype == np.float32
    assert found.boxes.tolist() == [[0, 0, 20, 15], [10, 15, 40, 30]] and found.labels.tolist() == [4, 2]


def test_whole_results_of_known_pictures_are_accepted(write):
    assert write().check([record()], [record(), record("dropped_by_the_audit.jpg")], drop=False) is None


@pytest.mark.parametrize("change, message", [
    (lambda folder: (folder / "a_1.bin").unlink(), "a_1.bin missing; run the application on all images"),
    (lambda folder: (folder / "a_0.bin").write_bytes(bytes(31)),
     r"a_0.bin has 31 bytes, 32 belong to float32 \[2, 4\]"),
    (lambda folder: (folder / "a_0.bin").write_bytes(bytes(16)), "a_0.bin has 16 bytes, 32 belong to float32"),
])
def test_missing_and_truncated_results_are_named(write, tmp_path, change, message):
    results = write()
    change(tmp_path)
    with pytest.raises(ResultError, match=message):
        results.check([record()], [record()], drop=False)


def test_a_picture_without_results_is_named_even_when_its_files_are_there(write):
    results = write(pictures={"a": PICTURE, "b": PICTURE})
    del results.images["b"]  # the application failed on it, the files are of an earlier run
    with pytest.raises(ResultError, match="b_0.bin, b_1.bin missing"):
        results.check([record(), record("b.jpg")], [record(), record("b.jpg")], drop=False)


def test_results_of_unknown_pictures_are_left_out_when_told_so(write):
    results = write(pictures={"a": PICTURE, "b": PICTURE, "c": PICTURE})
    with pytest.raises(ResultError, match="results of b, c, which the annotations do not name"):
        results.check([record()], [record()], drop=False)
    assert results.check([record()], [record()], drop=True) is None


def test_images_that_differ_in_their_ending_only_are_refused(write):
    with pytest.raises(DatasetError, match="a.jpg and .*a.png differ in their ending only"):
        write().check([record()], [record("a.jpg"), record("a.png")], drop=False)


def test_results_of_equal_names_are_told_apart_by_their_folders(write, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    results = write(pictures={"x/a": PICTURE, "y/a": {**PICTURE, "height": 60}})
    records = [record("x/a.jpg"), record("y/a.jpg", size=(60, 40))]
    assert results.check(records, records, drop=False) is None
    found = dict(results.stream(enumerate(records), None, 1))
    assert [found[number].boxes[0, 3] for number in (0, 1)] == [15, 30]


def test_results_of_one_folder_belong_to_the_only_image_of_their_name(write):
    records = [record("x/a.jpg"), record("y/b.jpg")]
    assert write().check(records[:1], records, drop=False) is None


def test_results_that_could_be_of_two_images_are_refused(write):
    records = [record("x/a.jpg"), record("y/a.jpg")]
    for drop in (False, True):
        with pytest.raises(ResultError, match="results of a, and the annotations name several images of that name"):
            write().check(records, records, drop=drop)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_results_that_are_not_finite_are_an_error_not_fewer_detections(write, tmp_path, kind, value):
    results = write(kind)
    boxes = np.fromfile(tmp_path / "a_0.bin", kind)
    boxes[5] = value
    boxes.tofile(tmp_path / "a_0.bin")
    with pytest.raises(ResultError, match="a_0.bin holds NaN or infinity"):
        list(results.stream([("key", record())], None, 1))


def test_names_of_images_keep_folders_where_there_are_several():
    assert list(image_names([Path("/c/val/0.jpg"), Path("/c/val/two.dots.png")]).values()) == ["0", "two.dots"]
    assert list(image_names([Path("/c/val/a/0.jpg"), Path("/c/val/b/0.jpg")]).values()) == ["a/0", "b/0"]
    assert list(image_names([Path("/c/val/0.jpg"), Path("/c/val/b/0.jpg")]).values()) == ["0", "b/0"]
    assert list(image_names([Path("/c/val/a/../../x/0.jpg"), Path("/c/val/1.jpg")]).values()) == ["x/0", "val/1"]
    assert image_names([]) == {}


def test_names_that_are_not_utf_8_are_refused():
    with pytest.raises(DatasetError, match="udce4in.jpg'?: the name is not UTF-8; rename the image"):
        image_names([Path("/c/lat\udce4in.jpg")])
    assert image_names([Path("/c/lat\udce4in.jpg")], listed=False) == {Path("/c/lat\udce4in.jpg"): "lat\udce4in"}


@pytest.mark.parametrize("audited, seen, message", [
    ((30, 40, 1), (30, 40, 1), None),
    ((30, 40, 3), (30, 40, 3), None),
    ((40, 30, 6), (40, 30, 6), None),
    ((30, 40, 1), (40, 30, 6), "orientation 6, but its boxes refer to 1; .*--orientations_path .*orientations.json"),
    ((40, 30, 6), (30, 40, 1), "orientation 1, but its boxes refer to 6; run the application without --ignore_orient"),
    ((30, 40, 1), (30, 40, 3), "orientation 3, but its boxes refer to 1"),
    ((30, 40, 3), (30, 40, 1), "orientation 1, but its boxes refer to 3"),
    ((30, 40, 1), (31, 40, 1), "saw 40 x 31 pixels, the audit 40 x 30; run the application on the same images"),
])
def test_turned_pictures_have_to_be_turned_as_their_boxes_are(write, audited, seen, message):
    results = write(pictures={"a": dict(zip(("height", "width", "orientation"), seen))})
    records = [replace(record(size=audited[:2]), orientation=audited[2])]
    if message is None:
        assert results.check(records, records, drop=False) is None
        return
    with pytest.raises(ResultError, match=message):
        results.check(records, records, drop=False)


def test_results_of_another_model_are_refused(write):
    outputs = [{**OUTPUTS[0], "shape": [1, 9, 4]}, OUTPUTS[1]]
    with pytest.raises(ResultError, match=re.escape("[[2, 4], [2]], those of the model are [[9, 4], [2]]")):
        write(outputs=outputs)


def test_a_folder_without_results_is_named(tmp_path):
    with pytest.raises(ResultError, match="outputs.json does not exist; --result_files_path has to name the folder"):
        ResultFiles(Scales(), tmp_path, OUTPUTS)


@pytest.mark.parametrize("content, message", [
    ("{", "is not a list of results"), ("[]", "is not a list of results"), ("{}", "KeyError: 'outputs'"),
    ('{"outputs": [{"type": "O", "shape": [1]}], "pictures": {}}', "unknown type 'O'"),
])
def test_broken_lists_of_results_are_refused(tmp_path, content, message):
    (tmp_path / "outputs.json").write_text(content)
    with pytest.raises(ResultError, match=message):
        read_result_list(tmp_path / "outputs.json")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(
                        ["outputs", "pictures", "type", "shape", "height", "width", "orientation"]), inner))


@given(JSON)
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        outputs, images = read_result_list(path)
    except ResultError:
        return
    assert isinstance(outputs, list) and isinstance(images, dict)
