"""Training and evaluation in two processes on the CPU, started by the launcher, against one process."""
from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from src.data.shapes import draw_shapes
from src.engine.curves import read_metrics

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_small.yaml"
STEPS = 8
HANGS = 900  # seconds after which a program that still runs is taken to hang


def launch(cwd: Path, program: str, *flags: str) -> subprocess.Popen:
    """Two processes of train.py by the launcher, with its results in LOG, or of eval.py by msrun."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                   "MASTER_PORT": str(port), "GLOG_v": "3"}
    if program == "train":
        command = ["bash", str(ROOT / "scripts/ssd/run_distribute_train_cpu.sh"), "2", str(STEPS), "0.00003", "coco",
                   str(CONFIG), *flags]
    else:
        command = ["msrun", "--worker_num=2", "--local_worker_num=2", "--join=True", f"--master_port={port}",
                   "--log_dir=logs", str(ROOT / "eval.py"), "--run_distribute", *flags]
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def wait_for_step(metrics: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + HANGS
    while not (metrics.exists() and any(line["step"] >= step for line in read_metrics(metrics))):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(process.communicate()[0])
        time.sleep(0.05)


def workers(launcher: int) -> list:
    """Process ids of the two ranks below the launcher, by rank."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = dict(line.split("=", 1) for line in status.read_text().split("\0") if "=" in line)
            parents, pid = [], int(status.parent.name)
            while pid > 1:
                pid = int(re.search(r"PPid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
                parents.append(pid)
        except (OSError, UnicodeDecodeError, TypeError):
            continue
        if launcher in parents and environment.get("MS_ROLE") == "MS_WORKER" and \
                "train.py" in status.with_name("cmdline").read_text() and len(parents) > parents.index(launcher):
            found[int(environment["RANK_ID"])] = int(status.parent.name)
    return [found[rank] for rank in sorted(found)]


def course(metrics: Path) -> list:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in read_metrics(metrics) if "lr" in line]


@pytest.fixture(scope="module")
def runs(cli, tmp_path_factory):
    """One process with batch 8; two with batch 4, of which rank 1 is killed.

    The four pictures fill a batch of 8 twice, so that each rank sees all four: its batch-norm statistics are those of
    the whole batch, and the loss of both ranks is that of the one process. With few pictures the gradients are
    thousands long and batch norm amplifies every rounding; short steps keep the courses comparable.
    """
    cwd = tmp_path_factory.mktemp("two")
    draw_shapes(cwd / "shapes", train=4, val=5)
    flags = {"coco_root": "shapes", "mindrecord_dir": "records", "mindrecord_shards": 1, "img_shape": "96,96",
             "python_multiprocessing": False, "num_parallel_workers": 1, "run_eval": False, "lr_init": 0.000003,
             "grad_clip_norm": 1, "save_checkpoint_epochs": 1, "ema_decay": 0}
    one = cli.call("train", cwd, config_path=CONFIG, batch_size=8, epoch_size=STEPS, lr=0.00003, output_path="one",
                   **flags)
    own = [f"--{key}={value}" for key, value in {**flags, "batch_size": 4}.items()]
    with cli.compiled_once(cwd):
        process = launch(cwd, "train", *own)
        wait_for_step(cwd / "LOG" / "metrics.jsonl", 3, process)
        os.kill(workers(process.pid)[1], signal.SIGKILL)
        printed, _ = process.communicate(timeout=HANGS)
    return SimpleNamespace(cwd=cwd, one=one, code=process.returncode, printed=printed, flags=own,
                           steps=len(course(cwd / "LOG" / "metrics.jsonl")))


def test_a_killed_rank_ends_the_job_with_a_message(runs):
    assert runs.code != 0
    assert 3 <= runs.steps < STEPS
    assert "error: a process ended with exit code" in runs.printed and "LOG/log.txt" in runs.printed
    assert re.search(r"Worker process \d+ exit with exception. Error code: -9", runs.printed)


def check_course(runs, least: int) -> None:
    """The two ranks did at least so many steps, with the losses of the one process."""
    assert runs.one.returncode == 0, runs.one.stderr
    steps, one, norms = zip(*course(runs.cwd / "one" / "metrics.jsonl"))
    assert steps == tuple(range(1, STEPS + 1))
    for name in ("metrics.jsonl", "metrics_1.jsonl"):
        found, two, norms_of_two = zip(*course(runs.cwd / "LOG" / name))
        assert found == steps[:len(found)] and len(found) >= least, "resumed where the last checkpoint was"
        np.testing.assert_allclose(two, one[:len(two)], rtol=5e-3)
        np.testing.assert_allclose(norms_of_two[0], norms[0], rtol=1e-3, err_msg="the mean of the gradients")


def test_the_loss_curve_of_two_ranks_is_that_of_one_process(runs):
    check_course(runs, least=3)


def test_rank_0_alone_writes_checkpoints_and_data(runs):
    folder = runs.cwd / "LOG"
    assert [path.name for path in folder.glob("ckpt_*")] == ["ckpt_0"]
    assert (folder / "ckpt_0" / "ssd-2_2.ckpt").exists()
    assert (folder / "loss_1.log").exists() and (folder / "worker_1.log").exists()


def test_an_evaluation_split_over_two_ranks_gives_the_same_ap(cli, runs):
    checkpoint = runs.cwd / "one" / "ckpt_0" / f"ssd-{STEPS}_{STEPS}.ckpt"
    flags = {"model_path": checkpoint, "min_score": 0.01}
    alone = cli.call("eval", runs.cwd, **flags, result_path="eval_one")
    process = launch(runs.cwd, "eval", "--result_path=eval_two", *(f"--{key}={value}" for key, value in flags.items()))
    printed, _ = process.communicate(timeout=HANGS)

    assert (alone.returncode, process.returncode) == (0, 0), alone.stderr + printed
    one, two = (json.loads((runs.cwd / folder / "predictions.json").read_text()) for folder in ("eval_one", "eval_two"))
    assert len(one) > 20 and len({row["image_id"] for row in one}) == 5, "an odd number of pictures"
    key = json.dumps
    assert sorted(two, key=key) == sorted(one, key=key)
    ap = re.search(r"mAP: \S+", alone.stdout)[0]
    assert printed.count("mAP: ") == 1 and ap in printed, "rank 0 alone measures"
    assert not list((runs.cwd / "eval_two").glob("predictions_*.json"))


@pytest.mark.nightly
def test_the_killed_job_is_resumed_where_its_last_checkpoint_was(cli, runs):
    with cli.compiled_once(runs.cwd):
        process = launch(runs.cwd, "train", *runs.flags, "--resume")
        printed, _ = process.communicate(timeout=HANGS)
    assert process.returncode == 0, printed
    check_course(runs, least=STEPS)
    assert (runs.cwd / "LOG" / "ckpt_0" / f"ssd-{STEPS}_{STEPS}.ckpt").exists()


@pytest.mark.nightly
def test_sigterm_to_the_launcher_saves_the_step_that_all_ranks_have_done(runs, tmp_path):
    for name in ("shapes", "records"):
        (tmp_path / name).symlink_to(runs.cwd / name)
    process = launch(tmp_path, "train", *runs.flags)
    wait_for_step(tmp_path / "LOG" / "metrics.jsonl", 2, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANGS)

    assert process.returncode == 143
    saved = json.loads((tmp_path / "LOG" / "ckpt_0" / "latest.json").read_text())["step"]
    done = [course(tmp_path / "LOG" / name)[-1][0] for name in ("metrics.jsonl", "metrics_1.jsonl")]
    assert done == [saved, saved] and 2 <= saved < STEPS


def ends(process: subprocess.Popen, seconds: float) -> str:
    """What the job has printed, when it has ended within `seconds`."""
    try:
        return process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.mark.nightly
@pytest.mark.parametrize("what", ["killed", "stopped", "full disk"])
def test_a_rank_in_trouble_ends_the_job_within_a_minute_and_it_says_why(runs, tmp_path, what):
    for name in ("shapes", "records"):
        (tmp_path / name).symlink_to(runs.cwd / name)
    process = launch(tmp_path, "train", *runs.flags, "--epoch_size=10000")
    wait_for_step(tmp_path / "LOG" / "metrics.jsonl", 2, process)
    ranks = workers(process.pid)
    if what == "full disk":     # files of rank 0 cannot grow beyond 1 MB, which a checkpoint needs
        resource.prlimit(ranks[0], resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    else:
        os.kill(ranks[1], signal.SIGKILL if what == "killed" else signal.SIGSTOP)
    printed = ends(process, 90)     # under load; 20 s for a stopped rank, 40 s for a killed one
    assert process.returncode != 0
    assert {"killed": "Error code: -9", "stopped": f"process {ranks[1]} of the job was stopped (SIGSTOP)",
            "full disk": "could not be saved"}[what] in printed
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]


@pytest.mark.nightly
def test_a_slow_rank_is_waited_for(runs, tmp_path):
    for name in ("shapes", "records"):
        (tmp_path / name).symlink_to(runs.cwd / name)
    process = launch(tmp_path, "train", *runs.flags)
    wait_for_step(tmp_path / "LOG" / "metrics.jsonl", 1, process)
    slow = workers(process.pid)[1]
    for _ in range(3):
        os.kill(slow, signal.SIGSTOP)
        time.sleep(5)
        os.kill(slow, signal.SIGCONT)
        time.sleep(1)
    assert process.poll() in (None, 0)
    ends(process, HANGS)
    assert process.returncode == 0
    assert course(tmp_path / "LOG" / "metrics.jsonl")[-1][0] == STEPS
