"""The one way in which files are read and written."""
from __future__ import annotations

import json
import os
import zipfile
from types import SimpleNamespace

import pytest

from src import files
from src.errors import DatasetError
from src.files import inside, open_input, parse_json, read_file, read_text, unpack, write_file


def test_a_pipe_a_device_and_a_folder_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "endless.jpg"):
        with pytest.raises(OSError, match="not a regular file"):
            open_input(tmp_path / name)
    with pytest.raises(OSError):
        read_file(tmp_path)


def test_a_file_is_read_whole_or_refused_by_its_size(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\ntwo")
    assert read_file(tmp_path / "a", max_bytes=10) == b"\xef\xbb\xbfone\ntwo"
    assert read_text(tmp_path / "a") == "one\ntwo"
    with pytest.raises(OSError, match="10 bytes are more than the 9 that are accepted"):
        read_file(tmp_path / "a", max_bytes=9)


@pytest.mark.parametrize("text, reason", [
    ('{"a": 1, "b": 2, "a": 3}', "the key 'a' occurs twice"), ('[{"x": {"y": 1, "y": 1}}]', "the key 'y' occurs twice"),
    ("[NaN]", "NaN is not"), ("[-Infinity]", "-Infinity is not"), ("[" * 100_000, "nested too deeply"),
    ("1" * 26, "an integer of 26 digits"), ("[1,]", None), (b"\xff\xfe\xfd", None),
])
def test_json_that_readers_disagree_about_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_json_within_the_bounds_is_read():
    assert parse_json('{"a": {"a": [1, -2.5, null]}}') == {"a": {"a": [1, -2.5, None]}}
    assert parse_json("1" * 25) == int("1" * 25)


def test_a_name_that_is_no_utf_8_goes_into_json_and_comes_back(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_file(tmp_path / "a.json", json.dumps({"file": name}, ensure_ascii=False))
    assert parse_json(read_file(tmp_path / "a.json")) == {"file": name}


def zipped(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name, text)
    return path


def test_an_archive_larger_than_the_disk_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", a="x" * 1000)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=999))
    with pytest.raises(DatasetError, match="needs 0 MB, but .* has room for 0 MB"):
        unpack(archive, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "x" * 1000


@pytest.mark.parametrize("name", ["../a", "b/../../a", "/a", "C:/a", "..\\a", ""])
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    with pytest.raises(DatasetError, match="would be written outside"):
        inside(tmp_path, name, "a.zip")


def test_links_in_an_archive_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError, match="'link' is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_file(path, "one")
    for step in ("fsync", "replace"):
        def fail(*_):
            raise OSError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="full"):
                write_file(path, b"two, and more")
        assert path.read_text() == "one" and list(tmp_path.iterdir()) == [path]


def test_a_file_has_its_name_only_when_it_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    seen = []

    def noting(step, real):
        def call(*given):
            seen.append((step, (tmp_path / "a").exists()))
            return real(*given)
        return call

    for step in ("fsync", "replace"):
        monkeypatch.setattr(os, step, noting(step, getattr(os, step)))
    write_file(tmp_path / "a", "one")
    assert seen == [("fsync", False), ("replace", False)]
