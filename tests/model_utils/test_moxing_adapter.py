"""What ModelArts users set: data and checkpoints come from object storage, results go there, also after a failure."""
from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
import types
import zipfile
from pathlib import Path

import pytest

from src.errors import DatasetError, StorageError, UsageError
from src.model_utils import moxing_adapter, object_storage
from src.model_utils.moxing_adapter import local_file, stage_files
from src.model_utils.object_storage import copy
from src.settings.config import Config


def config(**changed) -> Config:
    return Config(model={"model_name": "tiny"}).replace(enable_modelarts=True, **changed)


@pytest.fixture(autouse=True)
def on_a_host_of_its_own(tmp_path, monkeypatch):
    """Every test has its own place for the lock, and retries without pauses."""
    (tmp_path / "lock").mkdir()
    monkeypatch.setattr(moxing_adapter.tempfile, "tempdir", str(tmp_path / "lock"))
    monkeypatch.setattr(object_storage, "FIRST_PAUSE", 0.0)


@pytest.fixture()
def moxing(tmp_path, monkeypatch):
    """A moxing whose addresses s3://bucket/... are folders below `bucket`; the first `failures` copies fail."""
    module = types.ModuleType("moxing")
    module.bucket, module.failures, module.copies = tmp_path / "bucket", 0, []
    module.__spec__ = types.SimpleNamespace(name="moxing")

    def copy_parallel(source, target):
        import shutil

        module.copies.append((source, target))
        if module.failures:
            module.failures -= 1
            raise OSError("connection reset by peer")
        source, target = (Path(str(place).replace("s3://bucket", str(module.bucket))) for place in (source, target))
        if source.is_file():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        else:
            shutil.copytree(source, target, dirs_exist_ok=True)

    module.file = types.SimpleNamespace(copy_parallel=copy_parallel)
    monkeypatch.setitem(sys.modules, "moxing", module)
    return module


def put(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_modelarts_nothing_happens(moxing):
    plain = Config(model={"model_name": "tiny"}).replace(data_url="s3://bucket/data")
    with stage_files(plain) as same:
        assert same is plain
    assert moxing.copies == []


def test_data_and_checkpoint_come_before_the_work_and_results_go_after_it(moxing, tmp_path):
    put(moxing.bucket / "data" / "coco" / "train2017" / "1.jpg", "image")
    put(moxing.bucket / "trained" / "model.ckpt", "weights")
    settings = config(data_url="s3://bucket/data", data_path=str(tmp_path / "data"),
                      checkpoint_url="s3://bucket/trained", load_path=str(tmp_path / "load"),
                      train_url="s3://bucket/out", output_path=str(tmp_path / "out"), coco_root="coco",
                      mindrecord_dir="/elsewhere/records", pre_trained="model.ckpt")
    with stage_files(settings) as local:
        assert (Path(local.data.coco_root) / "train2017" / "1.jpg").read_text() == "image"
        assert local.data.mindrecord_dir == "/elsewhere/records"
        assert Path(local.train.pre_trained).read_text() == "weights"
        assert local.eval.result_path == local.runtime.output_path == str(tmp_path / "out")
        put(tmp_path / "out" / "ckpt_0" / "a.ckpt", "trained")
    assert (moxing.bucket / "out" / "ckpt_0" / "a.ckpt").read_text() == "trained"


def test_the_platforms_folder_is_the_default_of_the_results():
    assert moxing_adapter._local_paths(config())["output_path"] == "/cache/train"
    assert moxing_adapter._local_paths(config(file_name="./ssd"))["file_name"] == "/cache/train/ssd"


def test_results_of_a_work_that_failed_are_copied_too_and_its_error_is_the_one_told(moxing, tmp_path, capsys):
    settings = config(train_url="s3://bucket/out", output_path=str(tmp_path / "out"))
    for failures in (0, 99):
        moxing.failures = failures
        with pytest.raises(ZeroDivisionError), stage_files(settings):
            put(tmp_path / "out" / "ckpt_0" / "a.ckpt", "trained")
            raise ZeroDivisionError
        assert (moxing.bucket / "out" / "ckpt_0" / "a.ckpt").exists()
    assert "could not be copied to s3://bucket/out in 4 attempts" in capsys.readouterr().err


def test_a_lost_connection_is_retried_then_reported(moxing, tmp_path):
    put(moxing.bucket / "data" / "a", "1")
    moxing.failures = 3
    copy("s3://bucket/data", tmp_path / "there")
    assert (tmp_path / "there" / "a").read_text() == "1"

    moxing.failures = 4
    with pytest.raises(StorageError, match=r"s3://bucket/data could not be copied to .* in 4 attempts, OSError: conn"):
        copy("s3://bucket/data", tmp_path / "there")


def archive(path: Path, **members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, text in members.items():
            file.writestr(name.replace("_", "/"), text)
    return path


def test_the_named_archive_is_unpacked_once(moxing, tmp_path):
    packed = archive(moxing.bucket / "cocodataset.zip", cocodataset_val2017_1="image")
    settings = config(data_url="s3://bucket", data_path=str(tmp_path / "data"), train_url="s3://bucket/out",
                      output_path=str(tmp_path / "out"), need_modelarts_dataset_unzip=True,
                      modelarts_dataset_unzip_name="cocodataset", coco_root="cocodataset")
    with stage_files(settings) as local:
        assert (Path(local.data.coco_root) / "val2017" / "1").read_text() == "image"
    packed.write_text("no archive any more, and not looked at again")
    next((tmp_path / "lock").glob("*/copy_sync.done")).unlink()
    with stage_files(settings):
        pass


@pytest.mark.parametrize("name, words", [("../outside", "would be written outside"), ("/etc/x", "outside"),
                                         ("a/../../x", "outside"), ("C:\\x", "outside")])
def test_members_that_leave_the_folder_are_refused(tmp_path, name, words):
    with zipfile.ZipFile(put(tmp_path / "data" / "set.zip"), "w") as file:
        file.writestr("harmless", "1")
        file.writestr(name, "2")
    settings = config(need_modelarts_dataset_unzip=True, modelarts_dataset_unzip_name="set",
                      data_path=str(tmp_path / "data"))
    with pytest.raises(DatasetError, match=words), stage_files(settings):
        pass
    assert [path.name for path in (tmp_path / "data").glob("[!.]*")] == ["set.zip"]


def test_links_damaged_and_missing_archives_are_named(tmp_path, capsys):
    settings = config(need_modelarts_dataset_unzip=True, modelarts_dataset_unzip_name="set",
                      data_path=str(tmp_path))
    moxing_adapter.fetch(settings.modelarts)
    assert "set.zip does not exist; the data are taken as they are" in capsys.readouterr().err
    put(tmp_path / "set.zip", "text")
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        moxing_adapter.fetch(settings.modelarts)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError, match="'link' is a link"):
        moxing_adapter.fetch(settings.modelarts)
    with pytest.raises(UsageError, match="modelarts_dataset_unzip_name does not say"):
        moxing_adapter.fetch(config(need_modelarts_dataset_unzip=True).modelarts)


def _one_of_several(folder: str, index: int, answers) -> None:
    """A process of a host: copying takes a while, and is noted."""
    moxing_adapter.tempfile.tempdir = folder + "/lock"
    settings = config(data_url="s3://bucket/data").modelarts
    try:
        with moxing_adapter._one_at_a_time(settings) as done:
            if not done:
                put(Path(folder) / "copied_by" / str(index))
                time.sleep(0.5)
                if (Path(folder) / "fails").exists():
                    raise StorageError("no connection")
        answers.put(done)
    except StorageError as error:
        answers.put(str(error))


@pytest.mark.parametrize("fails", [False, True])
def test_one_process_of_a_host_copies_and_the_others_wait(tmp_path, fails):
    if fails:
        put(tmp_path / "fails")
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    processes = [spawn.Process(target=_one_of_several, args=(str(tmp_path), index, answers)) for index in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
    assert len(list((tmp_path / "copied_by").iterdir())) == 1
    if fails:
        assert sorted(found) == ["another process of this host could not copy: no connection"] * 2 + ["no connection"]
    else:
        assert sorted(found) == [False, True, True]


def test_waiting_for_the_process_that_copies_has_an_end(monkeypatch):
    monkeypatch.setattr(moxing_adapter, "TIME_LIMIT", -1)
    settings = config(data_url="s3://bucket/data").modelarts
    with moxing_adapter._one_at_a_time(settings), pytest.raises(StorageError, match="waited -1 s for the process"), \
            moxing_adapter._one_at_a_time(settings):
        pass


def test_another_job_does_not_take_the_note_of_an_earlier_one(monkeypatch):
    settings = config(data_url="s3://bucket/data").modelarts
    elsewhere = config(data_url="s3://bucket/data", data_path="/elsewhere").modelarts
    seen = []
    for job, wanted in (("1", settings), ("1", settings), ("1", elsewhere), ("2", settings)):
        monkeypatch.setenv("JOB_ID", job)
        with moxing_adapter._one_at_a_time(wanted) as done:
            seen.append(done)
    monkeypatch.setattr(moxing_adapter, "STARTED", time.time() + 3600)  # the job is run again, an hour later
    with moxing_adapter._one_at_a_time(settings) as done:
        seen.append(done)
    assert seen == [False, True, False, False, False]


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server on this machine with the bucket `bucket`."""
    pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture()
def bucket(server, monkeypatch):
    import boto3

    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
                        "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    for item in client.list_objects_v2(Bucket="bucket").get("Contents", ()):
        client.delete_object(Bucket="bucket", Key=item["Key"])


@pytest.mark.parametrize("scheme", ["s3", "obs"])
def test_folders_go_to_an_s3_server_and_come_back(bucket, tmp_path, scheme):
    for name in ("a.txt", "sub/b.txt", "sub/sub/c.bin"):
        put(tmp_path / "here" / name, f"content of {name}" * 1000)
    copy(tmp_path / "here", f"{scheme}://bucket/some/folder/")
    bucket.put_object(Bucket="bucket", Key="some/folder/", Body=b"")
    bucket.put_object(Bucket="bucket", Key="some/folder2/alike.txt", Body=b"not of this folder")

    copy(f"{scheme}://bucket/some/folder", tmp_path / "there")

    files = {path.relative_to(tmp_path / "there").as_posix(): path.read_text()
             for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert files == {name: f"content of {name}" * 1000 for name in ("a.txt", "sub/b.txt", "sub/sub/c.bin")}
    assert local_file(f"{scheme}://bucket/some/folder/a.txt").read_text() == "content of a.txt" * 1000
    assert local_file("config/a.yaml") == Path("config/a.yaml")


def test_a_job_through_an_s3_server(bucket, tmp_path):
    packed = archive(tmp_path / "set.zip", set_val_1="image")
    bucket.upload_file(str(packed), "bucket", "data/set.zip")
    bucket.put_object(Bucket="bucket", Key="trained/model.ckpt", Body=b"weights")
    settings = config(data_url="s3://bucket/data/", data_path=str(tmp_path / "data"), coco_root="set",
                      checkpoint_url="obs://bucket/trained/model.ckpt", load_path=str(tmp_path / "load"),
                      checkpoint_file_path="model.ckpt", train_url="s3://bucket/out", output_path=str(tmp_path / "out"),
                      need_modelarts_dataset_unzip=True, modelarts_dataset_unzip_name="set")
    with stage_files(settings) as local:
        assert (Path(local.data.coco_root) / "val" / "1").read_text() == "image"
        assert Path(local.eval.checkpoint_file_path).read_bytes() == b"weights"
        put(tmp_path / "out" / "metrics.jsonl", json.dumps({"step": 1}))
    assert bucket.get_object(Bucket="bucket", Key="out/metrics.jsonl")["Body"].read() == b'{"step": 1}'


def test_what_the_server_refuses_or_does_not_have_is_reported(bucket, tmp_path, monkeypatch):
    with pytest.raises(StorageError, match="s3://bucket/absent holds no files"):
        copy("s3://bucket/absent", tmp_path / "there")
    with pytest.raises(StorageError, match="in 4 attempts, NoSuchBucket"):
        copy("s3://no-such-bucket/a", tmp_path / "there")
    bucket.put_object(Bucket="bucket", Key="bad/../../outside", Body=b"1")
    with pytest.raises(DatasetError, match="would be written outside"):
        copy("s3://bucket/bad", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="in 4 attempts, EndpointConnectionError"):
        copy("s3://bucket/a", tmp_path / "there")


class Server(types.SimpleNamespace):
    """In the place of boto3's client: files {key: bytes}; every answer may be tampered with."""

    def __init__(self, **files: bytes):
        super().__init__(files={name.replace("_", "/"): content for name, content in files.items()}, asked=[])

    def get_paginator(self, _name):
        return self

    def paginate(self, **_bucket_and_prefix):
        return [{"Contents": [{"Key": key, "Size": len(content)} for key, content in self.files.items()]}]

    def download_file(self, _bucket, key, target):
        self.asked.append(key)
        Path(target).write_bytes(self.files[key])

    def upload_file(self, path, _bucket, key):
        self.asked.append(key)
        self.files[key] = Path(path).read_bytes()

    def head_object(self, Key, **_bucket):
        return {"ContentLength": len(self.files[Key])}


@pytest.fixture()
def broken_server(monkeypatch):
    found = Server(a_1=b"one", a_2=b"two")
    monkeypatch.setattr(object_storage, "_client", lambda: found)
    return found


def test_a_file_that_arrives_in_part_is_fetched_again_then_reported(broken_server, tmp_path, monkeypatch):
    whole, cut = broken_server.download_file, [2]

    def sometimes(bucket, key, target):
        whole(bucket, key, target)
        if key == "a/2" and cut.pop(0) if cut else False:
            Path(target).write_bytes(b"t")

    monkeypatch.setattr(broken_server, "download_file", sometimes)
    copy("s3://bucket/a", tmp_path / "there")
    assert (tmp_path / "there" / "2").read_bytes() == b"two" and broken_server.asked.count("a/2") == 2

    cut.extend([1] * 4)
    with pytest.raises(StorageError, match="s3://bucket/a: a/2 could not be copied .* in 4 attempts, OSError: 1 of 3"):
        copy("s3://bucket/a", tmp_path / "there")


def test_a_result_that_arrives_in_part_is_reported(broken_server, tmp_path, monkeypatch):
    put(tmp_path / "out" / "model.ckpt", "weights")
    monkeypatch.setattr(broken_server, "head_object", lambda **_: {"ContentLength": 3})
    with pytest.raises(StorageError, match="model.ckpt could not be copied to s3://bucket/out.*3 of 7 bytes arrived"):
        copy(tmp_path / "out", "s3://bucket/out")


def test_after_a_file_that_cannot_be_copied_no_further_ones_are_tried(broken_server, tmp_path, monkeypatch):
    broken_server.files = {f"a/{number}": b"1" for number in range(1000)}

    def refused(_bucket, key, _target):
        broken_server.asked.append(key)
        time.sleep(0.01)
        raise OSError("connection reset by peer")

    monkeypatch.setattr(broken_server, "download_file", refused)
    with pytest.raises(StorageError, match="in 4 attempts, OSError: connection reset by peer"):
        copy("s3://bucket/a", tmp_path / "there")
    assert len(set(broken_server.asked)) <= 3 * object_storage.PARALLEL_COPIES


def test_a_disk_without_room_for_all_files_is_reported_before_the_first(broken_server, tmp_path, monkeypatch):
    monkeypatch.setattr(object_storage.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=5))
    with pytest.raises(StorageError, match="s3://bucket/a needs 0 MB, but .*there has room for 0 MB"):
        copy("s3://bucket/a", tmp_path / "there")
    assert not broken_server.asked and not (tmp_path / "there").exists()


def test_a_server_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    pytest.importorskip("boto3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
                            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
                            "AWS_DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(object_storage, "ANSWER_SECONDS", 0.2)
        with pytest.raises(StorageError, match="in 4 attempts, ReadTimeoutError"):
            copy("s3://bucket/a", tmp_path / "there")


def test_what_moxing_copied_in_part_is_copied_again_then_reported(moxing, tmp_path, capsys):
    put(moxing.bucket / "data" / "a", "12345")
    moxing.file.get_size = lambda _, **__: 5
    copy("s3://bucket/data", tmp_path / "there")
    moxing.file.get_size = lambda _, **__: 7
    with pytest.raises(StorageError, match="in 4 attempts, OSError: 5 of 7 bytes arrived"):
        copy("s3://bucket/data", tmp_path / "there")
    del moxing.file.get_size
    capsys.readouterr()
    copy("s3://bucket/data", tmp_path / "there")
    assert "the size of s3://bucket/data cannot be compared" in capsys.readouterr().err


def test_an_archive_whose_unpacking_was_killed_is_unpacked_again(tmp_path, monkeypatch):
    archive(tmp_path / "set.zip", set_val_1="one", set_val_2="two")
    settings = config(need_modelarts_dataset_unzip=True, modelarts_dataset_unzip_name="set",
                      data_path=str(tmp_path)).modelarts

    def killed(_archive, folder):
        put(folder / "set" / "val" / "1", "o")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(moxing_adapter, "unpack", killed)
        moxing_adapter.fetch(settings)
    moxing_adapter.fetch(settings)
    assert [path.read_text() for path in sorted((tmp_path / "set" / "val").iterdir())] == ["one", "two"]
    assert not (tmp_path / ".set.unpacking").exists()


@pytest.mark.parametrize("url", ["s3://key:s3cr3t@bucket/a", "obs://key@bucket"])
def test_an_address_with_credentials_is_refused_before_the_work(moxing, url):
    for setting in ("data_url", "checkpoint_url", "train_url"):
        with pytest.raises(UsageError, match="holds no credentials"), stage_files(config(**{setting: url})):
            pytest.fail("the work has begun")
    with pytest.raises(UsageError, match="holds no credentials"):
        copy("here", url)
    assert not moxing.copies


def link_to(folder: Path, target: Path) -> None:
    target.mkdir()
    folder.symlink_to(target)


def open_to_all(folder: Path, _target: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


@pytest.mark.parametrize("make", [link_to, open_to_all, lambda folder, _: folder.touch()])
def test_a_folder_for_the_lock_that_others_may_write_is_refused(tmp_path, make):
    make(tmp_path / "lock" / f"detection-{os.getuid()}", tmp_path / "of_others")
    with pytest.raises(StorageError, match="is not a folder in which the user .* alone may write"), \
            stage_files(config(data_url="s3://bucket/data")):
        pass
    assert not (tmp_path / "of_others").is_dir() or not any((tmp_path / "of_others").iterdir())


@pytest.mark.parametrize("url", ["http://bucket/a", "s3:///a", "obs://"])
def test_other_addresses_are_refused(url, tmp_path):
    pytest.importorskip("boto3")
    with pytest.raises(UsageError, match="is not an address in object storage"):
        copy(url, tmp_path)


def test_without_moxing_and_boto3_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StorageError, match="neither moxing, which ModelArts brings, nor boto3"):
        copy("s3://bucket/a", tmp_path)


# What the READMEs of the zoo leave out

def coco(folder: Path) -> Path:
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations/instances_train2017.json").touch()
    return folder


@pytest.mark.parametrize("packed", [True, False])
def test_coco_is_found_where_the_zoo_had_it(moxing, tmp_path, packed):
    data = tmp_path / "data"
    coco(moxing.bucket / "coco" / ("cocodataset" if packed else ""))
    place = str(data / "cocodataset" if packed else data)
    for root in ({}, {"coco_root": str(data)}):     # Mask R-CNN's file says /cache/data
        settings = config(data_url="s3://bucket/coco", data_path=str(data), need_modelarts_dataset_unzip=packed,
                          modelarts_dataset_unzip_name="cocodataset", **root)
        with stage_files(settings) as staged:
            assert staged.data.coco_root == place and staged.data.mindrecord_dir is None


def test_mindrecord_files_alone_are_found(moxing, tmp_path):
    (moxing.bucket / "records").mkdir(parents=True)
    (moxing.bucket / "records/coco_det.train.mind0").touch()
    with stage_files(config(data_url="s3://bucket/records", data_path=str(tmp_path / "data"))) as staged:
        assert staged.data.mindrecord_dir == str(tmp_path / "data")
        assert staged.data.coco_root == "data/coco"     # names no data


def test_a_checkpoint_may_lie_beside_the_programs(tmp_path, monkeypatch):
    monkeypatch.setattr(moxing_adapter, "PROJECT_ROOT", tmp_path / "code")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/x.ckpt").touch()
    with stage_files(config(checkpoint_file_path="./x.ckpt")) as staged:
        assert staged.eval.checkpoint_file_path == str(tmp_path / "code/x.ckpt")


def test_the_settings_may_be_named_by_their_folder(moxing):
    folder = moxing.bucket / "cfg"
    folder.mkdir(parents=True)
    (folder / "one.yaml").touch()
    assert local_file("s3://bucket/cfg/").name == "one.yaml"
    (folder / "default_config.yaml").touch()
    assert local_file("s3://bucket/cfg").name == "default_config.yaml" and local_file(str(folder)).is_file()
    (folder / "default_config.yaml").rename(folder / "two.yaml")
    with pytest.raises(UsageError, match="is a folder with 2 YAML files; give the path of one of them .one.yaml, two"):
        local_file(str(folder))
