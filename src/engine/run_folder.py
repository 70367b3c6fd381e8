"""The folder of a run: settings, versions, logs, metrics, curves, checkpoints, report."""
from __future__ import annotations

import getpass
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

from src.errors import UsageError
from src.files import write_file
from src.model_utils.local_adapter import get_device_num
from src.printable import without_secrets

PROJECT_ROOT = Path(__file__).resolve().parents[2]
RUN_NAME = "[0-9]*-[0-9]*"  # folders that train.py names by the time; other commands put their name first
ONE_FOLDER = ("the processes of a distributed job write into one folder, and each would name it by another second; "
              "choose it with --{}")
PACKAGES = ("mindspore", "numpy", "opencv-python-headless", "pycocotools", "onnxruntime", "openvino")


def run_folder(config, resume: bool) -> Path:
    """The folder of this run, created if it does not exist.

    output_path names it. Otherwise a new run uses runs/<model>/<time>, and --resume the newest run of the model; where
    there is none, a new run starts.
    """
    if config.runtime.output_path:
        folder = Path(config.runtime.output_path)
    elif get_device_num() > 1:
        raise UsageError(ONE_FOLDER.format("output_path"))
    else:
        runs = Path("runs") / config.model.model_name
        earlier = sorted(path for path in runs.glob(RUN_NAME) if path.is_dir()) if resume else []
        if not earlier:
            return new_folder(runs, "", "output_path")
        folder = earlier[-1]
    return make_folder(folder, "output_path")


def results_folder(config, model_path: Path, command: str, results: str | None = None) -> Path:
    """The output folder of eval, predict and export: result_path, else in the run of the model, else a new run.

    results: the file by which results of an earlier call are known. They are never mixed with new ones: in the run the
    folder gets a number (eval_val, eval_val-2, ...), a result_path that holds some raises UsageError.
    """
    run_of_model = model_path.parent.parent
    if config.eval.result_path:
        folder = Path(config.eval.result_path)
        if results and (folder / results).exists():
            raise UsageError(f"{folder} holds the results of an earlier call ({results}); choose another "
                             "--result_path, or delete them")
    elif (run_of_model / "config.yaml").is_file():
        folder = run_of_model / command if results is None else unused_folder(run_of_model, command, results)
    elif get_device_num() > 1:
        raise UsageError(ONE_FOLDER.format("result_path"))
    else:
        return new_folder(Path("runs") / config.model.model_name, f"{command}-", "result_path")
    return make_folder(folder, "result_path")


def unused_folder(parent: Path, name: str, results: str) -> Path:
    """The first of name, name-2, name-3, ... below `parent` without the file `results`."""
    folder, number = parent / name, 1
    while (folder / results).exists():
        number += 1
        folder = parent / f"{name}-{number}"
    return folder


def new_folder(parent: Path, prefix: str, key: str) -> Path:
    """A new folder below `parent`, named by the time; a second run in the same second gets a number."""
    make_folder(parent, key)
    stem, number = prefix + datetime.now().strftime("%Y%m%d-%H%M%S"), 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UsageError(_refused(folder, "made", error.strerror, key)) from None


def make_folder(folder: Path, key: str) -> Path:
    """Create the folder if needed and return it; raises UsageError that names folder, user and setting where that
    fails, or where nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(_refused(folder, "made", error.strerror, key)) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(_refused(folder, "written", "permission denied or a read-only disk", key))
    return folder


def _refused(folder: Path, what: str, reason: str | None, key: str) -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):    # a number without a name, as in many containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "this user"
    return f"{folder} cannot be {what} by the user {user} ({reason}); choose another folder with --{key}"


def describe_run(folder: Path, config) -> None:
    """Write the resolved settings and the versions into the run folder."""
    config.write(folder / "config.yaml")
    write_file(folder / "versions.json", json.dumps(versions(), indent=1))


def versions() -> dict:
    """The environment of the run: command line, Python, packages, machine, git revision."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {"command": without_secrets(shlex.join(["python", *sys.argv])), "python": platform.python_version(),
            "machine": platform.platform(), "cores": os.cpu_count(), **packages, "git_revision": git_revision()}


def git_revision() -> str | None:
    """Commit of the project's checkout, with "+changes" if files differ from it; None outside a checkout."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=10,
                          check=True).stdout.strip()
