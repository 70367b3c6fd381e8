"""The commands as users call them, on a few drawn pictures."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.data.shapes import draw_shapes

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_small.yaml"


def command_line(name: str, flags: dict) -> list:
    return [sys.executable, str(ROOT / f"{name}.py"), *(f"--{key}={value}" for key, value in flags.items())]


def start(name: str, cwd: Path, **flags) -> subprocess.Popen:
    """`python <name>.py --key=value ...` in the folder cwd, started; `output` holds where it prints to."""
    output = cwd / f"output-{os.urandom(4).hex()}.txt"
    with output.open("w") as file:
        process = subprocess.Popen(command_line(name, flags), cwd=cwd, stdout=file, stderr=subprocess.STDOUT)
    process.output = output
    return process


def call(name: str, cwd: Path, **flags) -> subprocess.CompletedProcess:
    """`python <name>.py --key=value ...` in the folder cwd, run to its end."""
    return subprocess.run(command_line(name, flags), cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="session")
def cli():
    return SimpleNamespace(start=start, call=call)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> SimpleNamespace:
    """Eight pictures to train on, four to evaluate on, as MindRecord too.

    `flags`: what makes a training of seconds of them; `prepared`: the call of train.py that wrote the MindRecord files;
    `cwd`: the folder it was called in.
    """
    folder = tmp_path_factory.mktemp("drawn")
    draw_shapes(folder / "shapes", train=8, val=4)
    flags = {"config_path": CONFIG, "coco_root": folder / "shapes", "mindrecord_dir": folder / "mindrecord",
             "mindrecord_shards": 1, "img_shape": "96,96", "batch_size": 2, "python_multiprocessing": False,
             "num_parallel_workers": 2}
    cwd = folder / "cwd"
    cwd.mkdir()
    prepared = call("train", cwd, **flags, output_path=cwd / "run", only_create_dataset=True)
    return SimpleNamespace(folder=folder, flags=flags, prepared=prepared, cwd=cwd)
