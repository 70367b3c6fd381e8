"""The COCO reader: what it keeps, what it reports, what it refuses."""
import copy
import json
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.coco_json import load_coco
from src.data.records import BadOutline, ReaderFinding
from src.errors import AnnotationError, ConfigError, ProjectError, UsageError

RUNS = {"size": [4, 5], "counts": [6, 2, 2, 2, 8]}
CONTENT = {
    "images": [{"id": 9, "file_name": "b.jpg", "height": 40, "width": 50},
               {"id": 4, "file_name": "a.jpg", "height": 4, "width": 5},
               {"id": 5, "file_name": "empty.jpg"}],
    "annotations": [
        {"id": 11, "image_id": 9, "category_id": 17, "bbox": [10, 20, 5.5, 6], "area": 12.5, "iscrowd": 0,
         "segmentation": [[10, 20, 15.5, 20, 15.5, 26]]},
        {"id": 12, "image_id": 9, "category_id": 3, "bbox": [0, 0, 2, 3], "segmentation": []},
        {"id": 13, "image_id": 4, "category_id": 3, "bbox": [1, 2, 2, 2], "iscrowd": 1, "segmentation": RUNS}],
    "categories": [{"id": 17, "name": "cat"}, {"id": 3, "name": "car"}],
}


def read(folder, content, classes=None):
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return load_coco(path, folder, classes)


def changed(**fields):
    """The content with fields of its first annotation replaced."""
    content = copy.deepcopy(CONTENT)
    content["annotations"][0].update(fields)
    return content


def test_records_are_sorted_and_hold_boxes_outlines_and_crowds(tmp_path):
    annotations = read(tmp_path, CONTENT)

    assert annotations.classes == ("car", "cat") and annotations.category_ids == (3, 17)
    crowd, empty, two = annotations.records
    assert (crowd.image_id, empty.image_id, two.image_id) == (4, 5, 9)
    assert two.image_path == tmp_path.resolve() / "b.jpg" and (two.height, two.width) == (40, 50)
    np.testing.assert_array_equal(two.boxes, np.float32([[10, 20, 15.5, 26], [0, 0, 2, 3]]))
    np.testing.assert_array_equal(two.labels, [1, 0])
    np.testing.assert_array_equal(two.areas, np.float32([12.5, 6]))
    assert two.segments == ([[10, 20, 15.5, 20, 15.5, 26]], []) and two.object_ids == (11, 12)
    assert crowd.crowd.tolist() == [True] and crowd.segments == (RUNS,)
    assert (empty.height, empty.width, len(empty.boxes), empty.segments) == (0, 0, 0, None)


def test_classes_select_and_order(tmp_path):
    annotations = read(tmp_path, CONTENT, ["cat"])

    assert annotations.classes == ("cat",) and annotations.category_ids == (17,)
    assert [record.labels.tolist() for record in annotations.records] == [[], [], [0]]
    assert annotations.unselected == {"car": 2}


def test_a_background_among_the_categories_is_no_class(tmp_path):
    """The zoo writes its whole class list into the json that it makes of VOC annotations."""
    content = {**CONTENT, "categories": [{"id": 0, "name": "background"}, *CONTENT["categories"]]}

    assert read(tmp_path, content).classes == ("car", "cat")


def test_a_name_that_matches_nothing_is_an_error_with_both_sets(tmp_path):
    with pytest.raises(ConfigError, match="no class named dog; classes asks for cat, dog; .* has cat, car"):
        read(tmp_path, CONTENT, ["cat", "dog"])


def test_ids_and_outlines_as_via_exports_them(tmp_path):
    content = json.loads(json.dumps(CONTENT))
    for entry in (*content["images"], *content["annotations"], *content["categories"]):
        entry.update({key: str(entry[key]) for key in ("id", "image_id", "category_id") if key in entry})
    content["annotations"][0]["segmentation"] = [1, 2, 4, 2, 4, 6]

    as_text, as_numbers = read(tmp_path, content), read(tmp_path, changed(segmentation=[[1, 2, 4, 2, 4, 6]]))

    assert as_text.category_ids == as_numbers.category_ids and as_text.findings == as_numbers.findings == ()
    for found, wanted in zip(as_text.records, as_numbers.records):
        assert (found.image_id, found.object_ids, found.segments) == (
            wanted.image_id, wanted.object_ids, wanted.segments)
        assert found.boxes.tolist() == wanted.boxes.tolist() and found.labels.tolist() == wanted.labels.tolist()


def test_references_that_no_record_can_hold_are_reported(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["images"] += [{"id": 4, "file_name": "a.jpg"}, {"id": 4, "file_name": "again.jpg"}]
    content["annotations"] += [{"id": 14, "image_id": 77, "category_id": 3, "bbox": [0, 0, 1, 1]},
                               {"id": 15, "image_id": 4, "category_id": 99, "bbox": [0, 0, 1, 1]},
                               {"id": 13, "image_id": 4, "category_id": 3, "bbox": [0, 0, 1, 1]}]

    annotations = read(tmp_path, content)

    assert annotations.findings == (
        ReaderFinding("duplicate_image_id", "instances.json images[3] 'a.jpg'", 4, images=1),
        ReaderFinding("conflicting_image_id", "instances.json images[4] 'again.jpg'",
                      "4 is also the id of 'a.jpg', so its objects cannot be told apart", images=1),
        ReaderFinding("unknown_image", "instances.json annotation 14", 77, boxes=1),
        ReaderFinding("unknown_class", "instances.json annotation 15", 99, boxes=1),
        ReaderFinding("duplicate_annotation_id", "instances.json annotation 13", 13))
    first = annotations.records[0]
    assert first.image_path.name == "a.jpg" and first.object_ids == (13, 13)


def test_degenerate_and_outside_boxes_and_leaving_names_are_left_for_the_audit(tmp_path):
    content = changed(bbox=[60, 5, -3, 0])
    content["images"][0]["file_name"] = "../b.jpg"

    record = read(tmp_path, content).records[-1]

    assert record.boxes[0].tolist() == [60, 5, 57, 5]
    assert record.image_path == tmp_path.resolve() / ".." / "b.jpg"


@pytest.mark.parametrize("content, message", [
    (changed(bbox=[1, 2, 3]), r"id 11.*bbox.*\[1, 2, 3\]"),
    (changed(bbox=[1, 2, 3, "4"]), "id 11.*bbox.*finite number, found '4'"),
    (changed(bbox=None), "id 11.*'bbox' is missing"),
    (changed(iscrowd=2), "id 11.*iscrowd.*found 2"),
    (changed(id="x"), r"annotations\[0\].*'id'.*found 'x'"),
    (changed(image_id=True), "id 11.*image_id.*found True"),
    (changed(area="big"), "id 11.*area.*found 'big'"),
    ({**CONTENT, "images": [{"id": 1}]}, r"images\[0\].*'file_name' is missing"),
    ({**CONTENT, "images": [{"id": 1, "file_name": "a\0.jpg"}]}, r"images\[0\].*expected a name"),
    ({**CONTENT, "images": [{"id": -1, "file_name": "a.jpg"}]}, r"images\[0\].*found -1"),
    ({**CONTENT, "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, r"categories\[1\].*twice"),
    ({"images": []}, "'categories' must be a list"),
    ("[1, 2]", "expected the COCO form"),
    ("{\"images\": [", "not valid json: .*line 1"),
    ("{\"a\": NaN}", "NaN is not a number"),
    ("{\"annotations\": [1], \"annotations\": []}", "the key 'annotations' occurs twice"),
    ("{\"a\": -Infinity}", "-Infinity is not a number"),
    ("{\"a\": " + "9" * 5000 + "}", "an integer of 5000 digits"),
    ("[" * 100000, "nested too deeply"),
    (json.dumps(changed(bbox=[0, 0, 1, 7])).replace("7]", "1e999]"), "id 11.*finite number, found inf"),
])
def test_what_no_record_can_hold_is_refused_with_its_place(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=f"(?s)instances.json.*{message}"):
        read(tmp_path, content)


@pytest.mark.parametrize("segment, reason", [
    ([[1, 2, 3, 4]], "three points"), ([[1, 2, 3, 4, 5, 6, 7]], "three points"), ([[]], "three points"),
    ([[1, 2, 3, 4, 5, None]], "three points"), ([1, 2, 3, 4], "three points"),
    ({"size": [4, 5], "counts": [6, 2]}, "cover 8 pixels.*has 20"),
    ({"size": [4, 5], "counts": "\x01"}, "not a compressed")])
def test_an_outline_that_is_none_is_left_for_the_audit(tmp_path, segment, reason):
    outline = read(tmp_path, changed(segmentation=segment)).records[-1].segments[0]

    assert isinstance(outline, BadOutline) and re.search(reason, outline)


def test_a_category_without_objects_may_have_the_name_of_another(tmp_path):
    """Roboflow writes the name of the project as a category of its own."""
    content = copy.deepcopy(CONTENT)
    used = content["annotations"][0]["category_id"]
    name = next(entry["name"] for entry in content["categories"] if entry["id"] == used)
    content["categories"].insert(0, {"id": 0, "name": name})

    assert read(tmp_path, content).classes == read(tmp_path, CONTENT).classes


def test_a_split_for_evaluation_may_lack_a_class(tmp_path):
    (tmp_path / "instances.json").write_text(json.dumps(CONTENT))
    names = read(tmp_path, CONTENT).classes
    wanted = ("yak", *names)

    annotations = load_coco(tmp_path / "instances.json", tmp_path, wanted, may_lack=True)

    assert annotations.classes == wanted and len(set(annotations.category_ids)) == len(wanted)
    assert all(0 not in record.labels for record in annotations.records)
    with pytest.raises(ConfigError, match="has no class named yak"):
        load_coco(tmp_path / "instances.json", tmp_path, ("yak",), may_lack=True)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        load_coco(tmp_path / "none.json", tmp_path)


def test_a_file_over_the_size_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("src.data.annotation_files.read_bytes.__defaults__", (10,))
    with pytest.raises(AnnotationError, match="more than the 10 that are accepted"):
        read(tmp_path, CONTENT)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=60))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_encoding_that_pycocotools_writes_is_accepted_as_it_is(tmp_path, rows):
    encoded = coco_mask.encode(np.asfortranarray(np.array(rows, np.uint8)))
    encoded["counts"] = encoded["counts"].decode()

    assert read(tmp_path, changed(segmentation=encoded)).records[-1].segments[0] == encoded


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.sampled_from(["id", "size", "counts", "x"]), inner),
    max_leaves=5)


def places(value, path=()):
    """The paths of all values inside a json value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield path + (key,)
        yield from places(inner, path + (key,))


@given(place=st.sampled_from(list(places(CONTENT))), value=st.just("remove") | JSON_VALUES)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_any_place_gives_records_or_the_projects_own_error(tmp_path, place, value):
    content = copy.deepcopy(CONTENT)
    parent = content
    for key in place[:-1]:
        parent = parent[key]
    if value == "remove":
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    try:
        annotations = read(tmp_path, content)
    except ProjectError as error:
        assert "instances.json" in str(error)
    else:
        for record in annotations.records:
            assert np.isfinite(record.boxes).all() and np.isfinite(record.areas).all()
            assert len(record.boxes) == len(record.labels) == len(record.object_ids)


@given(st.binary(max_size=40), st.integers(0, 10 ** 6))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_bytes_give_the_projects_own_error(tmp_path, noise, position):
    content = json.dumps(CONTENT).encode()
    position %= len(content)
    path = tmp_path / "instances.json"
    path.write_bytes(content[:position] + noise + content[position + len(noise):])
    try:
        load_coco(path, tmp_path)
    except ProjectError as error:
        assert "instances.json" in str(error)


def test_the_test_split_is_test_dev_without_annotations(tmp_path):
    info = {"images": [{"id": 5, "file_name": "5.jpg", "width": 4, "height": 3}],
            "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]}
    (tmp_path / "annotations").mkdir()
    (tmp_path / "test2017").mkdir()
    (tmp_path / "annotations/image_info_test-dev2017.json").write_text(json.dumps(info))
    argv = ["--model_name", "centernet_resnet50", "--run_mode", "test", "--coco_root", str(tmp_path)]
    config = load_config(argv, "eval")
    found = load_split(config.data, config.eval.eval_split)
    assert [str(record.image_path) for record in found.records] == [str(tmp_path / "test2017/5.jpg")]
    assert found.classes == ("person", "car") and not found.records[0].labels.size
    with pytest.raises(UsageError, match="val2017.json.*no such file"):
        load_split(config.data, "val")


def test_a_test_split_that_is_not_there_is_not_taken_for_the_validation_split(tmp_path):
    data = load_config(["--model_name", "ssd300", "--coco_root", str(tmp_path)], "eval").data
    with pytest.raises(UsageError, match="image_info_test-dev2017.json.*no such file.*test_instances_set"):
        load_split(data, "test")
    with pytest.raises(UsageError, match="data of the format txt has no split 'test', only train, val"):
        load_split(load_config(["--model_name", "ssd300", "--dataset", "txt"], "eval").data, "test")


def test_a_number_that_json_does_not_have_is_named_with_its_place(tmp_path):
    text = '{"images": [],\n "annotations": [{"id": 7, "name": "NaN \\" NaN",\n "bbox": [1, NaN, 3, 4]}]}'
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(AnnotationError, match=r'NaN is not a number that json allows: line 3 column 14, .*: \[1, NaN$'):
        load_coco(tmp_path / "a.json", tmp_path)
