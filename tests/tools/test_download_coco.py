"""COCO's archives from a server on this machine that breaks off in the middle."""
from __future__ import annotations

import errno
import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.errors import DatasetError, StorageError
from tools import download_coco as download
from tools.download_coco import Archive, download_coco, fetch

ROOT = Path(__file__).resolve().parents[2]


def zipped(**members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in members.items():
            file.writestr(name.replace("__", "/"), text)
    return content.getvalue()


@pytest.fixture()
def server(monkeypatch):
    """`files`: {path: bytes}; `limit`: bytes after which an answer breaks off; `ranges`: whether it can go on in the
    middle; `asked`: the Range of every request; `status`: answer this code instead; `announced`: a wrong
    Content-Length, False for none."""
    state = SimpleNamespace(files={}, limit=None, ranges=True, asked=[], status=None, announced=None)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = state.files.get(self.path)
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.status or content is None:
                self.send_error(state.status or 404)
                return
            start = int(wanted[len("bytes="):-1]) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if state.announced is not False:
                self.send_header("Content-Length", state.announced or str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][:state.limit])

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


CONTENT = bytes(range(256)) * 40


def archive_of(content: bytes, address: str = "a.zip", folder: str = "") -> Archive:
    return Archive(address, len(content), hashlib.sha256(content).hexdigest(), folder)


ARCHIVE = archive_of(CONTENT)


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.files["/a.zip"], server.limit = CONTENT, 4000
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4000-", "bytes=8000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_the_next_call_takes_up_what_an_earlier_one_left(server, tmp_path):
    server.files["/a.zip"] = CONTENT
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:5000])
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    (tmp_path / "b.zip.part").write_bytes(CONTENT)
    fetch(f"{server.url}/a.zip", tmp_path / "b.zip", ARCHIVE)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=5000-"]     # of the second nothing was missing


def test_a_server_that_cannot_go_on_in_the_middle_starts_again(server, tmp_path):
    server.files["/a.zip"], server.ranges = CONTENT, False
    (tmp_path / "a.zip.part").write_bytes(b"something else")
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_wrong_sum_is_named_and_nothing_stays(server, tmp_path):
    server.files["/a.zip"] = CONTENT[:-1] + b"x"
    with pytest.raises(DatasetError, match=f"instead of {ARCHIVE.sha256}; what came was deleted"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_nothing_is_given_up_and_what_is_there_stays(server, tmp_path):
    server.files["/a.zip"], server.limit = CONTENT, 0
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:5000])
    with pytest.raises(StorageError, match="the connection was lost after 5000 of 10240 bytes.*goes on from there"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert len(server.asked) == download.ATTEMPTS
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:5000]
    with pytest.raises(StorageError, match="404 Not Found"):
        fetch(f"{server.url}/b.zip", tmp_path / "b.zip", ARCHIVE)
    server.status = 503
    with pytest.raises(StorageError, match="503"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)


@pytest.mark.parametrize("announced", [str(10 ** 15), "many", "-5"])
def test_a_server_that_announces_another_size_is_refused_before_a_byte_is_written(server, tmp_path, announced):
    server.files["/a.zip"], server.announced = CONTENT, announced
    with pytest.raises(DatasetError, match=f"announces {announced} bytes, 10240 are missing"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_is_not_announced_is_bounded_nevertheless(server, tmp_path):
    server.files["/a.zip"], server.announced = CONTENT, False
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    server.files["/b.zip"] = CONTENT * 1000
    with pytest.raises(DatasetError, match="sends more than the 10240 bytes"):
        fetch(f"{server.url}/b.zip", tmp_path / "b.zip", ARCHIVE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_disk_without_room_is_said_before_the_server_is_asked(server, tmp_path, monkeypatch):
    server.files["/a.zip"] = CONTENT
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * len(CONTENT) - 1))
    with pytest.raises(StorageError, match="has room for 0 MB.*--coco_root"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert server.asked == []
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1])
    fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)


def test_a_disk_that_fills_up_is_named_at_once_and_what_is_there_stays(server, tmp_path, monkeypatch):
    server.files["/a.zip"] = CONTENT
    monkeypatch.setattr(download, "_continue", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "no space")))
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:1])
    with pytest.raises(StorageError, match="a.zip.part cannot be written .no space.; make room"):
        fetch(f"{server.url}/a.zip", tmp_path / "a.zip", ARCHIVE)
    assert (tmp_path / "a.zip.part").exists()


def test_the_archives_of_coco_come_over_https_with_size_and_sum():
    assert download.SERVER.startswith("https://")
    assert [len(archive.sha256) for archive in download.COCO_2017] == [64, 64, 64]
    assert sum(archive.size for archive in download.COCO_2017) == 20_405_354_669


def test_archives_become_folders_once(server, tmp_path):
    contents = {"annotations/ann.zip": zipped(annotations__instances_val2017="{}"),
                "zips/val2017.zip": zipped(val2017__1="one", val2017__2="two")}
    archives = [archive_of(content, name, folder)
                for (name, content), folder in zip(contents.items(), ("annotations", "val2017"))]
    server.files = {f"/{name}": content for name, content in contents.items()}
    for _ in range(2):
        download_coco(tmp_path / "coco", archives, server.url)
    assert len(server.asked) == 2
    assert sorted(path.relative_to(tmp_path / "coco").as_posix() for path in (tmp_path / "coco").rglob("*")) == [
        "annotations", "annotations/instances_val2017", "val2017", "val2017/1", "val2017/2"]


@pytest.mark.parametrize("members, words", [({"../outside": "1"}, "would be written outside"),
                                            ({"other__1": "1"}, "does not hold the folder val2017")])
def test_an_archive_of_other_content_leaves_nothing(server, tmp_path, members, words):
    content = zipped(**members)
    server.files["/zips/val2017.zip"] = content
    archive = archive_of(content, "zips/val2017.zip", "val2017")
    with pytest.raises(DatasetError, match=words):
        download_coco(tmp_path, [archive], server.url)
    assert [path.name for path in tmp_path.iterdir()] == ["val2017.zip"]


def test_the_script_downloads_to_the_folder_of_the_configuration(tmp_path):
    for name in ("annotations", "train2017", "val2017"):
        (tmp_path / "coco" / name).mkdir(parents=True)
    (tmp_path / "old.yaml").write_text(f"model_name: ssd300\ncoco_root: {tmp_path / 'coco'}\n")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def call(*arguments):
        return subprocess.run(["bash", str(ROOT / "scripts/ssd/run_download_dataset.sh"), *arguments], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, timeout=120)

    done = call("coco", "old.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is there already") == 3
    assert call("voc", "old.yaml").returncode == 2 and "only coco can be downloaded" in call("voc", "old.yaml").stderr
