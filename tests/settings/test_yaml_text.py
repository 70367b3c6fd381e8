import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.errors import ConfigError
from src.settings import yaml_text

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-10**18, 10**18),
                    st.floats(allow_nan=False, allow_infinity=False), TEXT)
VALUES = st.dictionaries(TEXT, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
                         max_size=4)


def test_scalars_follow_yaml_1_2():
    text = "a: no\nb: 010\nc: 1e-3\nd: true\ne: 1:30\nf: 2024-01-01\ng: ~\nh: -3\ni: .5"
    (values,), _ = yaml_text.parse(text, "x.yaml")
    assert values == {"a": "no", "b": 10.0, "c": 0.001, "d": True, "e": "1:30", "f": "2024-01-01", "g": None,
                      "h": -3, "i": 0.5}


def test_lines_of_the_keys_are_known():
    _, lines = yaml_text.parse("model:\n  gamma: 2\n\ntrain:\n  seed: 1\n", "x.yaml")
    assert lines == {"model": 1, "gamma": 2, "train": 4, "seed": 5}


@pytest.mark.parametrize("text, words", [
    ("a: 1\na: 2", "x.yaml:2: .*'a' is given twice, first in line 1"),
    ("a: &x [1]\nb: *x", "x.yaml:1: .*anchors"),
    ("a: !!python/object/apply:os.getcwd []", "x.yaml:1: .*tags"),
    ("a: " + "[" * 30 + "]" * 30, "nested deeper than 20"),
    ("a: [1", "x.yaml:1: not a valid YAML file"),
    ("1: 2", "key 1 is not text"),
    ("? [1]\n: 2", "key .* is not text"),
    ("a: \x00", "x.yaml: not a valid YAML file"),
])
def test_what_a_settings_file_does_not_need_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        yaml_text.parse(text, "x.yaml")


def test_files_are_refused_when_missing_too_large_or_not_utf8(tmp_path):
    large, latin = tmp_path / "large.yaml", tmp_path / "latin.yaml"
    large.write_bytes(b"#" * (yaml_text.MAX_BYTES + 1))
    latin.write_bytes("größe: 1".encode("latin-1"))
    for path, words in ((large, "larger than"), (latin, "not UTF-8"), (tmp_path / "no.yaml", "cannot be read"),
                        (tmp_path, "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            yaml_text.read(path)


@given(VALUES)
def test_what_is_written_is_read_back_equal(values):
    documents, _ = yaml_text.parse(yaml_text.dump(values), "dump")
    assert documents == [values]
