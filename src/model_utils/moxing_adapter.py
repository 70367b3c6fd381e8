"""ModelArts: copies data and checkpoints from object storage before the work, and results back after it."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

from src.errors import StorageError, UsageError
from src.files import parse_json, read_file, unpack, write_file
from src.model_utils.device_adapter import this_process
from src.model_utils.local_adapter import get_job_id
from src.model_utils.object_storage import check_address, copy
from src.printable import without_secrets
from src.settings.data_formats import DATA_FORMATS

PROJECT_ROOT = Path(__file__).resolve().parents[2]
OUTPUT_PATH = "/cache/train"    # the platform has space for results there
FROM_DATA = (*(key for row in DATA_FORMATS.values() for key in row.paths), "data_root", "val_list", "mindrecord_dir")
FROM_CHECKPOINTS = ("checkpoint_file_path", "pre_trained", "feature_extractor_base_param")
TIME_LIMIT = 4 * 3600   # seconds that a process waits for the one that copies; COCO is 19 GB
STARTED = time.time()


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
    for url in filter(None, (settings.data_url, settings.checkpoint_url, settings.train_url)):
        check_address(url)
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
        target, name = Path(settings.data_path), settings.modelarts_dataset_unzip_name
        archive = target / f"{name}.zip"
        unfinished = target / f".{name}.unpacking"  # stays there if this process is killed
        if not archive.exists():    # the zoo's files set it, but many users upload folders
            print(f"{archive} does not exist; the data are taken as they are", file=sys.stderr)
        elif unfinished.exists() or not (target / name).is_dir():
            unfinished.touch()
            unpack(archive, target)
            unfinished.unlink()


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
    job = hashlib.sha256(json.dumps([
        get_job_id(), os.environ.get("JOB_ID") or os.getppid(), settings.data_url, settings.data_path,
        settings.checkpoint_url, settings.load_path]).encode()).hexdigest()
    done = _own_folder() / "copy_sync.done"
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
            reason = without_secrets(str(error)) or type(error).__name__
            write_file(done, json.dumps({"job": job, "error": reason}))
            raise
        write_file(done, json.dumps({"job": job}))


def _own_folder() -> Path:
    """A folder below the system's for temporary files in which only this user may write: there, another user could make
    this one wait, or have it write into a file behind a link. Raises StorageError for a folder of another user."""
    user = os.getuid()
    folder = Path(tempfile.gettempdir(), f"detection-{user}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
        raise StorageError(f"{folder} is not a folder in which the user {user} alone may write; remove it, or set "
                           "TMPDIR to another folder")
    return folder


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
