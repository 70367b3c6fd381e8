"""Credentials in flags and in the environment reach no file and no output of the programs."""
from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from src.data.shapes import draw_shapes

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_small.yaml"
MARK = "m4rk3d-s3cr3t"
VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "OBS_SK", "HF_TOKEN", "DB_PASSWORD")
ADDRESSES = (f"--data_url=s3://ak:{MARK}@bucket/data", f"--checkpoint_url=https://h/a?x=1&X-Amz-Signature={MARK}",
             f"--train_url=obs://bucket/out?AccessKeyId={MARK}")
# A checkpoint has four bytes for each letter.
FORMS = tuple(MARK.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-32-le"))


@pytest.fixture()
def place(tmp_path, monkeypatch):
    """A folder with a drawn data set, in an environment with credentials."""
    for name in VARIABLES:
        monkeypatch.setenv(name, MARK)
    draw_shapes(tmp_path / "shapes", train=4, val=2)
    return tmp_path


def run(place: Path, command: list, *flags) -> subprocess.CompletedProcess:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                   "MASTER_PORT": str(port)}
    done = subprocess.run([*map(str, command), *map(str, flags)], cwd=place, env=environment, capture_output=True,
                          text=True, timeout=900)
    assert MARK not in done.stdout + done.stderr, done.stdout + done.stderr
    return done


def program(place: Path, name: str, *flags) -> subprocess.CompletedProcess:
    return run(place, [sys.executable, ROOT / f"{name}.py"], *flags)


def leaks(place: Path) -> list:
    """Files below the folder that hold the mark, in their content or their name."""
    return [str(path) for path in place.rglob("*") if MARK in path.name
            or path.is_file() and any(form in path.read_bytes() for form in FORMS)]


def data(place: Path) -> list:
    return [f"--config_path={CONFIG}", f"--coco_root={place / 'shapes'}", f"--mindrecord_dir={place / 'records'}",
            "--mindrecord_shards=1", *ADDRESSES]


def test_settings_reports_and_messages_hold_no_credentials(place):
    audited = program(place, "audit", *data(place), "--output_path=audit")
    assert audited.returncode == 0, audited.stderr
    for name, flags in (("train", [f"--lr=https://me:{MARK}@{'h' * 90}/"]), ("train", [f"--tokn={MARK}"]),
                        ("eval", ["--model_path=none.ckpt"]),
                        ("export", [f"--model_path=s3://ak:{MARK}@bucket/none.ckpt"]),
                        ("predict", ["--model_path=none.ckpt", f"--image_path=rtsp://me:{MARK}@camera/1"]),
                        ("train", ["--enable_modelarts=true"]),
                        ("train", [f"--password={MARK}"]), ("train", [f"--config_path=s3://ak:{MARK}@bucket/a.yaml"])):
        done = program(place, name, *data(place), *flags)
        assert done.returncode in (1, 2) and "error: " in done.stderr, (name, flags, done.stderr)
    assert list(place.rglob("audit.json")) and not leaks(place)


@pytest.mark.nightly
def test_no_file_of_a_run_holds_credentials(place):
    """Training by a launcher in two processes, with its logs; evaluation, export, prediction."""
    done = run(place, ["bash", ROOT / "scripts/ssd/run_distribute_train_cpu.sh", "2", "1", "0.001", "coco", CONFIG],
               *data(place)[1:], "--img_shape=96,96", "--batch_size=2", "--train_steps=1",
               "--python_multiprocessing=False", "--run_eval=False")
    assert done.returncode == 0, done.stdout + done.stderr
    (checkpoint,) = place.rglob("*.ckpt")
    for name, flags in (("eval", ["--result_path=evaluated", "--min_score=0"]),
                        ("export", ["--file_format=MINDIR", "--result_path=exported"]),
                        ("predict", [f"--image_path={place / 'shapes/val2017'}", "--result_path=predicted"])):
        done = program(place, name, f"--model_path={checkpoint}", *flags, *ADDRESSES)
        assert done.returncode == 0, done.stderr
    names = {path.name for path in place.rglob("*")}
    assert {"env.log", "log.txt", "worker_0.log", "config.yaml", "versions.json", "report.html", "predictions.json",
            "mindspore.log", "loss_0.log"} <= names
    assert not leaks(place)
