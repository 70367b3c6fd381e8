from typing import Dict, List, Literal, Optional

import pytest

from src.settings.schema import from_text, type_name


@pytest.mark.parametrize("text, annotation, value", [
    ("20", int, 20),
    ("twenty", int, "twenty"),
    ("9" * 30, int, "9" * 30),
    ("1e-3", float, 0.001),
    ("True", bool, True),
    ("off", bool, False),
    ("perhaps", bool, "perhaps"),
    ("mindir", Literal["MINDIR", "ONNX"], "MINDIR"),
    ("none", Optional[str], None),
    ("", Optional[int], None),
    ("none", str, "none"),
    ("300,300", List[int], [300, 300]),
    ("[300, 300]", List[int], [300, 300]),
    ("", List[int], []),
    ("circle, traffic light,no", Optional[List[str]], ["circle", "traffic light", "no"]),
    ('["a,b", c]', List[str], ["a,b", "c"]),
    ("[[], [2, 3]]", List[List[float]], [[], [2, 3]]),
    ("missing_image=drop,outside_box=Keep", Dict[str, Literal["drop", "keep"]],
     {"missing_image": "drop", "outside_box": "keep"}),
    ("{missing_image: drop}", Dict[str, str], {"missing_image": "drop"}),
    ("missing_image", Dict[str, str], "missing_image"),
])
def test_text_is_read_by_type(text, annotation, value):
    assert from_text(text, annotation) == value


@pytest.mark.parametrize("annotation, name", [
    (int, "int"), (bool, "true | false"), (Optional[List[float]], "list of float or none"),
    (Literal["coco", "voc"], "coco | voc"), (Dict[str, str], "str=str, ..."),
])
def test_types_have_readable_names(annotation, name):
    assert type_name(annotation) == name
