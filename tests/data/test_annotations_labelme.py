"""The LabelMe reader: shapes, layouts, and what is refused."""
from __future__ import annotations

import base64
import json
import os

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.annotations import load_split
from src.data.audit import audit
from src.data.images import encode_jpeg
from src.data.records import BadOutline, ReaderFinding
from src.errors import AnnotationError, DatasetError, ProjectError, UsageError
from src.ops.masks import bitmap
from src.settings.schema import DataSection

TRIANGLE = [[4, 2], [24, 2], [4, 12]]


def shape(label="cat", points=TRIANGLE, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, "flags": {}, **more}


def write(root, stem, *shapes, image="{}.jpg", folder=""):
    """A json file, and the image beside it unless another is named."""
    target = root / folder
    target.mkdir(parents=True, exist_ok=True)
    if image == "{}.jpg":
        (target / f"{stem}.jpg").write_bytes(encode_jpeg(np.zeros((20, 40, 3), np.uint8)))
    (target / f"{stem}.json").write_text(json.dumps({
        "version": "5.5.0", "imagePath": image.format(stem), "imageData": None, "imageHeight": 20, "imageWidth": 40,
        "shapes": shapes}))
    return root


def load(root, split="train", **changed):
    return load_split(DataSection(dataset="labelme", labelme_root=str(root), **changed), split)


def test_polygons_are_outlines_and_rectangles_boxes_however_they_were_drawn(tmp_path):
    write(tmp_path, "img_7", shape(), shape("dog", [[30, 18], [20, 8]], "rectangle", difficult=True))

    annotations = load(tmp_path)

    record, = annotations.records
    assert annotations.classes == ("cat", "dog") and annotations.category_ids == (1, 2)
    assert (record.image_id, record.height, record.width, record.source) == (7, 20, 40, "img_7.json")
    assert record.boxes.tolist() == [[4, 2, 24, 12], [20, 8, 30, 18]]
    assert record.segments == ([[4, 2, 24, 2, 4, 12]], []) and record.difficult.tolist() == [False, True]
    assert audit(annotations, progress=False).report.findings == ()


def test_shapes_of_one_label_and_group_are_one_object(tmp_path):
    write(tmp_path, "1", shape(group_id=3), shape("dog", group_id=3),
          shape(points=[[30, 4], [34, 4], [34, 9]], group_id=3))

    record, = load(tmp_path).records

    assert record.labels.tolist() == [0, 1] and record.boxes.tolist() == [[4, 2, 34, 12], [4, 2, 24, 12]]
    assert record.segments[0] == [[4, 2, 24, 2, 4, 12], [30, 4, 34, 4, 34, 9]]


def test_a_circle_is_a_centre_and_a_point_on_it(tmp_path):
    write(tmp_path, "1", shape(points=[[20, 10], [23, 14]], kind="circle"))

    record, = load(tmp_path).records

    np.testing.assert_allclose(record.boxes, [[15, 5, 25, 15]], atol=1e-5)
    assert bitmap(record.segments[0], 20, 40).sum() == pytest.approx(np.pi * 25, rel=0.05)


def png(mask):
    return base64.b64encode(cv2.imencode(".png", mask)[1].tobytes()).decode()


def test_a_mask_is_a_png_of_its_box(tmp_path):
    mask = np.zeros((4, 6), np.uint8)
    mask[1:3, 2:] = 255
    write(tmp_path, "1", shape(points=[[10, 5], [15, 8]], kind="mask", mask=png(mask)))

    record, = load(tmp_path).records

    wanted = np.zeros((20, 40), np.uint8)
    wanted[5:9, 10:16] = mask > 0
    np.testing.assert_array_equal(bitmap(record.segments[0], 20, 40), wanted)


@pytest.mark.parametrize("text", [None, "x", "eHh4", png(np.ones((30, 50), np.uint8))])
def test_a_mask_that_cannot_be_read_is_no_outline(tmp_path, text):
    write(tmp_path, "1", shape(points=[[10, 5], [15, 8]], kind="mask", mask=text))

    assert isinstance(load(tmp_path).records[0].segments[0], BadOutline)


def test_points_and_lines_are_left_out_and_reported(tmp_path):
    write(tmp_path, "1", shape(), shape("dog", [[1, 1]], "point"), shape("cat", [[1, 1], [9, 9]], "line"))

    annotations = load(tmp_path)

    assert annotations.classes == ("cat",) and [len(record.boxes) for record in annotations.records] == [1]
    assert annotations.findings == (ReaderFinding("shape_without_area", "1.json, shape 2", "point 'dog'", boxes=1),
                                    ReaderFinding("shape_without_area", "1.json, shape 3", "line 'cat'", boxes=1))
    assert audit(annotations, progress=False).report.dropped.boxes == 2


def test_labels_that_are_no_class(tmp_path):
    write(tmp_path, "1", shape(), shape("__ignore__"), shape("_background_"))

    annotations = load(tmp_path)

    assert annotations.classes == ("cat",) and annotations.unselected == {"__ignore__": 1, "_background_": 1}


def test_splits_are_folders_and_share_their_classes(tmp_path):
    write(tmp_path, "1", shape("dog"), folder="train")
    write(tmp_path, "2", shape("cat"), folder="valid")

    assert load(tmp_path, "val").classes == load(tmp_path).classes == ("cat", "dog")
    assert load(tmp_path, "val").records[0].image_path == tmp_path.resolve() / "valid" / "2.jpg"
    with pytest.raises(UsageError, match="no split 'test'; looked for test; set labelme_root"):
        load(tmp_path, "test")


@pytest.mark.parametrize("named", ["../images/1.jpg", "..\\images\\1.jpg", "C:\\data\\1.jpg"])
def test_the_image_is_where_the_json_says_or_beside_it(tmp_path, named):
    write(tmp_path, "1", shape(), image=named, folder="labels")
    place = tmp_path / ("labels" if named.startswith("C:") else "images")
    place.mkdir(exist_ok=True)
    (place / "1.jpg").write_bytes(b"")

    assert load(tmp_path).records[0].image_path.resolve() == place.resolve() / "1.jpg"


def test_nothing_outside_the_folder_is_opened(tmp_path):
    root = write(tmp_path / "set", "1", shape(), image="../secret.jpg")
    (tmp_path / "secret.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match="outside_root"):
        audit(load(root), progress=False)

    write(tmp_path / "elsewhere", "2", shape())
    os.symlink(tmp_path / "elsewhere" / "2.json", root / "2.json")
    with pytest.raises(AnnotationError, match="2.json leads to .*elsewhere.*2.json, which is not below .*labelme_root"):
        load(root)


@pytest.mark.parametrize("entry, message", [
    (shape(None), "1.json: label: expected a name, found None"),
    (shape(points=[]), r"shape 1 \('cat'\): points: expected a list"),
    (shape(points=[[1, 2, 3]]), r"points: expected a list of \[x, y\]"),
    (shape(points=[["1", 2]]), "expected a finite number, found '1'"),
    (shape(kind="cuboid"), "3 points of the shape_type 'cuboid', which is not known here"),
    (shape(kind="rectangle", points=[[1, 2]]), "1 point of the shape_type 'rectangle'"),
    (shape(group_id="a"), "expected a whole number"),
    (shape(difficult=7), "expected 0 or 1"),
])
def test_a_shape_that_makes_no_sense_is_named(tmp_path, entry, message):
    write(tmp_path, "1", entry)

    with pytest.raises(AnnotationError, match=f"1.json: .*{message}" if "json" not in message else message):
        load(tmp_path, classes=["cat"])


def test_wrong_shapes_are_counted(tmp_path):
    write(tmp_path, "1", shape(kind="cuboid"), shape(), shape(points=[]))

    with pytest.raises(AnnotationError, match=r"(?s)2 entries cannot be read:.*1.json: shape 1 .*1.json: shape 3 "):
        load(tmp_path)


@pytest.mark.parametrize("text, message", [
    ("{", "is not valid json"), ("[]", "is not LabelMe's form"), ('{"images": []}', "move it out of the data set"),
    ('{"shapes": []}', "imagePath: expected a name, found None"),
    ('{"shapes": [], "imagePath": "1.jpg", "imageHeight": "20"}', "expected a whole number .*found '20'"),
])
def test_a_json_of_another_kind_is_refused(tmp_path, text, message):
    (tmp_path / "1.json").write_text(text)

    with pytest.raises(AnnotationError, match=f"1.json: .*{message}"):
        load(tmp_path, classes=["cat"])


def test_without_json_files_or_shapes_there_is_nothing_to_learn(tmp_path):
    with pytest.raises(UsageError, match="has no json file; set labelme_root"):
        load(tmp_path)
    write(tmp_path, "1")
    with pytest.raises(AnnotationError, match="no json file has a shape"):
        load(tmp_path)


values = st.recursive(st.none() | st.booleans() | st.integers(-2, 2 ** 70) | st.floats() | st.sampled_from(
    ["", "cat", "polygon", "mask", "\0", "\ud800"]), lambda inner: st.lists(inner, max_size=3), max_leaves=6)


@given(key=st.sampled_from(["label", "points", "shape_type", "group_id", "difficult", "mask"]), value=values)
@settings(max_examples=100, deadline=None)
def test_any_value_gives_records_or_the_projects_own_error(tmp_path_factory, key, value):
    root = tmp_path_factory.getbasetemp() / "fuzzed"
    write(root, "1", {**shape(kind="mask" if key == "mask" else "polygon"), key: value})
    try:
        record, = load(root).records
        assert np.isfinite(record.boxes).all()
    except ProjectError as error:
        assert str(root) in str(error)
