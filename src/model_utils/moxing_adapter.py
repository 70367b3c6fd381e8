"""ModelArts: copies data and checkpoints from object storage before the work, and results back after it.

On the platform its own library `moxing` copies; elsewhere the same addresses (obs:// or s3://) are read and written
with boto3, which takes address and keys of the server from its environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...).
"""
from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

from src.errors import StorageError, UsageError
from src.files import inside, parse_json, read_file, unpack, write_file
from src.model_utils.device_adapter import this_process
from src.model_utils.local_adapter import get_job_id
from src.settings.data_formats import DATA_FORMATS

PROJECT_ROOT = Path(__file__).resolve().parents[2]
OUTPUT_PATH = "/cache/train"    # the platform has space for results there
FROM_DATA = (*(key for row in DATA_FORMATS.values() for key in row.paths), "data_root", "val_list", "mindrecord_dir")
FROM_CHECKPOINTS = ("checkpoint_file_path", "pre_trained", "feature_extractor_base_param")
ATTEMPTS = 4
FIRST_PAUSE = 2.0       # seconds before the second attempt; doubled before every further one
TIME_LIMIT = 4 * 3600   # seconds that a process waits for the one that copies; COCO is 19 GB
STARTED = time.time()
PARALLEL_COPIES = 16


@contextlib.contextmanager
def stage_files(config):
    """Context manager: the settings, with data and checkpoints copied to this host. At the end, also after an error,
    the results are copied out. Without enable_modelarts nothing is copied.

    Relative paths to data start from data_path when there is a data_url, relative paths to checkpoints from load_path
    when there is a checkpoint_url. Raises StorageError, and UsageError for settings that cannot be.
    """
    if not config.modelarts.enable_modelarts:
        yield config
        return
    settings = config.modelarts
    with _one_at_a_time(settings) as already_done:
        if not already_done:
            fetch(settings)
    config = config.replace(**_local_paths(config))
    output = Path(config.runtime.output_path)
    try:
        yield config
    except BaseException:
        with contextlib.suppress(StorageError):     # the error that ended the work is the one to report
            _upload(output, settings.train_url)
        raise
    process = this_process(config.runtime)
    if process.device_id % min(process.size, 8) == 0:
        _upload(output, settings.train_url)


def fetch(settings) -> None:
    """Copy data_url and checkpoint_url to this host and unpack the archive that is named."""
    for url, folder in ((settings.data_url, settings.data_path), (settings.checkpoint_url, settings.load_path)):
        if url:
            copy(url, folder)
    if settings.need_modelarts_dataset_unzip:
        if not settings.modelarts_dataset_unzip_name:
            raise UsageError("need_modelarts_dataset_unzip is set, but modelarts_dataset_unzip_name does not say which "
                             "archive in data_path to unpack")
        target = Path(settings.data_path)
        archive = target / f"{settings.modelarts_dataset_unzip_name}.zip"
        if not archive.exists():    # the zoo's files set it, but many users upload folders
            print(f"{archive} does not exist; the data are taken as they are", file=sys.stderr)
        elif not (target / settings.modelarts_dataset_unzip_name).is_dir():
            unpack(archive, target)


def local_file(path: str) -> Path:
    """The path of a settings file, of one in object storage where it has been copied to.

    In a folder it is default_config.yaml, or the only YAML file. Raises UsageError if there are several.
    """
    place = Path(path)
    if "://" in path:
        folder = Path(tempfile.mkdtemp(prefix="from_storage_"))
        copy(path, folder)
        place = folder / path.rstrip("/").rpartition("/")[2]
        place = place if place.exists() else folder
    if not place.is_dir():
        return place
    files = sorted(place.glob("*.yaml"))
    usual = [file for file in files if file.name == "default_config.yaml"] or files
    if len(usual) != 1:
        raise UsageError(f"{path} is a folder with {len(files)} YAML files; give the path of one of them "
                         f"({', '.join(file.name for file in files)})")
    return usual[0]


def copy(source, target) -> None:
    """Copy a folder between this host and object storage; one of the two is an address. Raises StorageError."""
    print(f"copying {source} to {target}")
    if importlib.util.find_spec("moxing"):
        import moxing

        _retried(lambda: moxing.file.copy_parallel(str(source), str(target)), source, target)
    elif "://" in str(source):
        _download(str(source), Path(target))
    else:
        _upload_folder(Path(source), str(target))


def _local_paths(config) -> dict:
    """The settings that are otherwise on ModelArts, by key."""
    settings = config.modelarts
    given = {key: value for section in config.model_dump().values() for key, value in section.items()}
    paths = {"output_path": given["output_path"] or OUTPUT_PATH}
    paths["result_path"] = given["result_path"] or paths["output_path"]
    paths["file_name"] = str(Path(paths["output_path"], given["file_name"]))  # "./ssd" would stay where the job runs
    for url, folder, keys in ((settings.data_url, settings.data_path, FROM_DATA),
                              (settings.checkpoint_url, settings.load_path, FROM_CHECKPOINTS)):
        if url:
            paths.update({key: str(Path(folder, given[key])) for key in keys if given.get(key) is not None})
    if settings.data_url:
        paths.update(_found_data(config))
    if not settings.checkpoint_url:     # the zoo's CenterNet took them from beside its programs
        paths.update({key: str(PROJECT_ROOT / given[key]) for key in FROM_CHECKPOINTS if given.get(key)
                      and not os.path.exists(given[key]) and (PROJECT_ROOT / given[key]).exists()})
    return paths


def _found_data(config) -> dict:
    """Where COCO or MindRecord files are in data_path, if the settings do not name a place below it.

    As in the zoo, COCO may be the folder that was packed, or data_path itself; MindRecord files lie in either.
    """
    settings, data = config.modelarts, config.data
    folders = [Path(settings.data_path)]
    if settings.need_modelarts_dataset_unzip and settings.modelarts_dataset_unzip_name:
        folders.insert(0, folders[0] / settings.modelarts_dataset_unzip_name)
    usual = type(data).model_fields["coco_root"].default
    found = {}
    if data.coco_root == usual or data.coco_root and Path(data.coco_root) == folders[-1]:
        found["coco_root"] = next((str(folder) for folder in folders if (folder / "annotations").is_dir()), usual)
    records = next((str(folder) for folder in folders if any(folder.glob("*.mind*0"))), None)
    if data.mindrecord_dir is None and records is not None:
        found["mindrecord_dir"] = records
    return found


@contextlib.contextmanager
def _one_at_a_time(settings):
    """Lets the processes of this host in one after the other; gives whether another one has already done the work.

    Raises StorageError if that one failed, or if it takes longer than TIME_LIMIT.
    """
    import fcntl

    # ModelArts numbers its jobs; elsewhere the processes of a job have one launcher.
    job = [get_job_id(), os.environ.get("JOB_ID") or os.getppid(), settings.data_url, settings.data_path,
           settings.checkpoint_url, settings.load_path]
    done = Path(tempfile.gettempdir()) / "copy_sync.done"
    with open(done.with_suffix(".lock"), "a", encoding="utf-8") as lock:
        deadline = time.monotonic() + TIME_LIMIT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StorageError(f"waited {TIME_LIMIT} s for the process that copies {settings.data_url}; "
                                       "look into its log") from None
                time.sleep(1)
        earlier = _read_note(done)
        if earlier.get("job") == job and done.stat().st_mtime > STARTED - 10:  # older: of a former attempt
            if earlier.get("error"):
                raise StorageError(f"another process of this host could not copy: {earlier['error']}")
            yield True
            return
        try:
            yield False
        except BaseException as error:
            write_file(done, json.dumps({"job": job, "error": str(error) or type(error).__name__}))
            raise
        write_file(done, json.dumps({"job": job}))


def _read_note(path: Path) -> dict:
    try:
        note = parse_json(read_file(path))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _upload(output: Path, train_url: str | None) -> None:
    if not train_url:
        print(f"results stay in {output}: there is no train_url", file=sys.stderr)
    elif output.is_dir():
        try:
            copy(output, train_url)
        except StorageError as error:
            print(f"error: {error}", file=sys.stderr)
            raise


def _download(url: str, folder: Path) -> None:
    client, (bucket, prefix) = _client(), _address(url)

    def listed():
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    targets = {}
    for key in _retried(listed, url, folder):
        if key.endswith("/") or not (not prefix or key == prefix or key.startswith(prefix + "/")):
            continue    # a folder's own entry; another folder whose name begins alike
        name = key.rpartition("/")[2] if key == prefix else key[len(prefix):].lstrip("/")
        targets[key] = inside(folder, name, url)
    if not targets:
        raise StorageError(f"{url} holds no files; check the address")

    def fetch_one(key):
        targets[key].parent.mkdir(parents=True, exist_ok=True)
        _retried(lambda: client.download_file(bucket, key, str(targets[key])), f"{url}: {key}", targets[key])

    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        list(pool.map(fetch_one, targets))


def _upload_folder(folder: Path, url: str) -> None:
    client, (bucket, prefix) = _client(), _address(url)

    def send(path):
        key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
        _retried(lambda: client.upload_file(str(path), bucket, key), path, f"{url}: {key}")

    with ThreadPoolExecutor(PARALLEL_COPIES) as pool:
        list(pool.map(send, (path for path in sorted(folder.rglob("*")) if path.is_file())))


def _client():
    try:
        import boto3
    except ModuleNotFoundError:
        raise StorageError("this host has neither moxing, which ModelArts brings, nor boto3; pip install boto3") \
            from None
    from botocore.config import Config

    return boto3.client("s3", config=Config(connect_timeout=20, read_timeout=60, retries={"total_max_attempts": 1},
                                            max_pool_connections=PARALLEL_COPIES))


def _address(url: str) -> tuple[str, str]:
    """(bucket, key without slashes at the end)"""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in ("s3", "obs") or not bucket:
        raise UsageError(f"'{url}' is not an address in object storage; give s3://BUCKET/FOLDER or obs://BUCKET/FOLDER")
    return bucket, key.strip("/")


def _retried(action: Callable, source, target):
    """The result of `action`, which is tried several times; raises StorageError if all attempts fail."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_PAUSE * 2 ** (attempt - 1))
        try:
            return action()
        except Exception as error:  # moxing and boto3 raise whatever their lower layers raise
            failure = error
    raise StorageError(f"{source} could not be copied to {target} in {ATTEMPTS} attempts, "
                       f"{type(failure).__name__}: {failure}")
