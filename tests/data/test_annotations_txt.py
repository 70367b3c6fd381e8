"""The zoo's TXT rows."""
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.data.records import ReaderFinding
from src.data.txt_rows import load_txt
from src.errors import AnnotationError, ConfigError, ProjectError


def read(folder, text, classes=("cat", "dog")):
    path = folder / "train.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_txt(path, folder, classes)


def test_rows_with_five_and_six_numbers_classes_from_one(tmp_path):
    annotations = read(tmp_path, "t/img20.jpg 0,259,401,459,1 35,28,324.5,201,2,1\r\n\r\nt/img3.jpg\n")

    empty, two = annotations.records
    assert annotations.classes == ("cat", "dog") and annotations.category_ids == (1, 2)
    assert (empty.image_id, empty.source, len(empty.boxes)) == (3, "train.txt:3", 0)
    assert two.image_path == tmp_path.resolve() / "t" / "img20.jpg"
    assert two.boxes.tolist() == [[0, 259, 401, 459], [35, 28, 324.5, 201]]
    assert two.labels.tolist() == [0, 1] and two.crowd.tolist() == [False, True]
    assert two.areas.tolist() == [401 * 200, 289.5 * 173] and two.object_ids == (1, 2)


def test_background_and_numbers_beyond_the_last_class_are_problems(tmp_path):
    annotations = read(tmp_path, "a1.jpg 0,0,5,5,0 0,0,5,5,3 0,0,5,5,2\n")

    assert annotations.records[0].labels.tolist() == [1]
    assert annotations.findings == (ReaderFinding("unknown_class", "train.txt:1", 0, boxes=1),
                                    ReaderFinding("unknown_class", "train.txt:1", 3, boxes=1))


def test_a_second_row_of_an_image_is_a_record_of_its_own_for_the_audit_to_find(tmp_path):
    annotations = read(tmp_path, "a1.jpg 0,0,5,5,1\na1.jpg 0,0,6,6,1\n")

    assert [(record.image_id, record.boxes.tolist()) for record in annotations.records] == [
        (1, [[0, 0, 5, 5]]), (2, [[0, 0, 6, 6]])]
    assert annotations.findings == ()


@pytest.mark.parametrize("row, message", [
    ("b.jpg 1,2,3,4", "'1,2,3,4' has 4 numbers"),
    ("b.jpg 1,2,3,4,1,0,0", "has 7 numbers"),
    ("b.jpg 1,2,3,four,1", "found 'four'"),
    ("b.jpg 1,2,3,inf,1", "finite number, found inf"),
    ("b.jpg 1,2,3,4,1.5", "whole number.*found 1.5"),
    ("b.jpg 1,2,3,4,1,2", "0 or 1, found 2"),
    ("b.jpg 1, 2,3,4,1", "found ''"),
    ("b\0.jpg", "expected a name"),
])
def test_a_malformed_row_is_named_with_its_line(tmp_path, row, message):
    with pytest.raises(AnnotationError, match=f"train.txt:2: .*{message}"):
        read(tmp_path, f"a.jpg\n{row}\n")


def test_the_class_names_must_come_from_the_configuration(tmp_path):
    with pytest.raises(ConfigError, match="list the class names in classes"):
        read(tmp_path, "a.jpg\n", None)


def test_text_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="train.txt: is not UTF-8 text"):
        read(tmp_path, b"\xff\xfe")


@given(st.lists(st.sampled_from(["a.jpg", " ", ",", "1", "-2.5", "1e999", "nan", "\n", "1,2,3,4,1", "0x1", "9" * 400])
                | st.text(max_size=3) | st.sampled_from(["\x85", "\ufeff", "\0", "\r"]), max_size=12))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_records_or_the_projects_own_error(tmp_path, pieces):
    try:
        annotations = read(tmp_path, "".join(pieces).encode("utf-8", "surrogatepass"))
    except ProjectError as error:
        assert "train.txt" in str(error)
    else:
        assert all(np.isfinite(record.boxes).all() for record in annotations.records)
