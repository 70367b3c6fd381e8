"""A run that was killed and resumed ends with the same bits as one that was left alone."""
from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from src.checkpoint import CheckpointFolder, read_weights
from src.data.shapes import draw_shapes
from src.engine.curves import read_metrics

TIME_LIMIT = 900  # seconds after which a program that still runs is taken to hang
# Four steps make an epoch.
PLAIN = {"epoch_size": 3, "save_checkpoint_steps": 2, "run_eval": False, "ema_decay": 0}
AVERAGING = {"epoch_size": 2, "save_checkpoint_steps": 5, "run_eval": True, "eval_start_epoch": 1,
             "eval_interval": 1, "ema_decay": 0.9, "accumulation_steps": 2}


def wait_until(condition, process) -> None:
    """Look every few milliseconds; the process must not end before."""
    deadline = time.monotonic() + TIME_LIMIT
    while not condition():
        assert process.poll() is None, process.output.read_text()
        if time.monotonic() > deadline:
            raise TimeoutError(process.output.read_text())
        time.sleep(0.002)


def stop(process, number: signal.Signals, condition) -> int:
    """Send the signal when the condition holds; returns the exit code."""
    wait_until(condition, process)
    process.send_signal(number)
    return process.wait(TIME_LIMIT)


def end(process) -> int:
    code = process.wait(TIME_LIMIT)
    assert code == 0, process.output.read_text()
    return code


def steps_logged(run: Path, since: float = 0.0) -> int:
    """The last step in the log; since: seconds since 1970, which steps of an earlier process were logged before."""
    path = run / "metrics.jsonl"
    lines = read_metrics(path) if path.exists() else []
    return max((line["step"] for line in lines if line["time"] > since), default=0)


def a_checkpoint_is_being_written(run: Path) -> bool:
    return any(run.glob("ckpt_0/.ssd-*"))


def saved_step(run: Path) -> int:
    return CheckpointFolder(run / "ckpt_0", "ssd", 10).latest()[2]["step"]


def assert_same_end(run: Path, reference: Path, steps: int) -> None:
    """Weights, moving statistics and optimizer state are equal bit for bit, and so is every logged loss."""
    (path, state, position), (wanted_path, wanted_state, wanted_position) = (
        CheckpointFolder(folder / "ckpt_0", "ssd", 10).latest() for folder in (run, reference))
    assert position == wanted_position and position["step"] == steps
    for found, wanted in ((read_weights(path).arrays, read_weights(wanted_path).arrays), (state, wanted_state)):
        assert sorted(found) == sorted(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
    losses = [[(line["step"], line["loss"], line["grad_norm"], line["lr"]) for line in
               read_metrics(folder / "metrics.jsonl") if "lr" in line] for folder in (run, reference)]
    assert [step for step, *_ in losses[0]] == list(range(1, steps + 1))
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def stopped(cli, drawn, tmp_path_factory):
    """A run that was killed while it wrote a checkpoint, stopped by SIGTERM and by Ctrl-C, and let to its end, beside a
    reference that was left alone."""
    cwd = tmp_path_factory.mktemp("stopped")
    flags = {**drawn.flags, **PLAIN}
    run, seen = cwd / "run", {}

    with cli.compiled_once(cwd):
        end(cli.start("train", cwd, **flags, output_path=cwd / "reference"))

        process = cli.start("train", cwd, **flags, output_path=run)
        seen["kill"] = stop(process, signal.SIGKILL,
                            lambda: steps_logged(run) >= 5 and a_checkpoint_is_being_written(run))
        seen["after kill"] = saved_step(run)

        begin = time.time()
        process = cli.start("train", cwd, **flags, output_path=run, resume=True)
        seen["SIGTERM"] = stop(process, signal.SIGTERM, lambda: steps_logged(run, begin) >= 8)
        seen["SIGTERM printed"] = process.output.read_text()
        seen["after SIGTERM"], seen["logged at SIGTERM"] = saved_step(run), steps_logged(run)

        begin = time.time()
        process = cli.start("train", cwd, **flags, output_path=run, resume=True)
        seen["Ctrl-C"] = stop(process, signal.SIGINT, lambda: steps_logged(run, begin) >= 9)
        seen["Ctrl-C printed"] = process.output.read_text()

        process = cli.start("train", cwd, **flags, output_path=run, resume=True)
        end(process)
    return run, cwd / "reference", seen


def test_the_run_was_really_killed(stopped):
    _, _, seen = stopped
    assert seen["kill"] == -signal.SIGKILL and 4 <= seen["after kill"] < 12


def test_sigterm_saves_the_step_it_came_in_and_ends_with_143(stopped):
    _, _, seen = stopped
    assert seen["SIGTERM"] == 143
    assert seen["after SIGTERM"] == seen["logged at SIGTERM"] >= 8
    assert "stopped by SIGTERM; what was saved before is complete" in seen["SIGTERM printed"]
    assert "Traceback" not in seen["SIGTERM printed"]


def test_ctrl_c_ends_with_130(stopped):
    _, _, seen = stopped
    assert seen["Ctrl-C"] == 130 and "stopped by Ctrl-C; what was saved before is complete" in seen["Ctrl-C printed"]


def test_a_killed_and_resumed_run_ends_with_the_same_bits(stopped):
    run, reference, _ = stopped
    assert_same_end(run, reference, steps=12)


def test_nothing_half_written_stays(stopped):
    run, _, _ = stopped
    assert [path for path in run.rglob(".*") if path.is_file()] == []


@pytest.mark.nightly
def test_averages_and_accumulation_are_resumed_exactly(cli, drawn, tmp_path):
    """Killed after an evaluation, in the middle of an accumulation."""
    flags = {**drawn.flags, **AVERAGING}
    reference = cli.start("train", tmp_path, **flags, output_path=tmp_path / "reference")
    run = tmp_path / "run"

    process = cli.start("train", tmp_path, **flags, output_path=run)
    assert stop(process, signal.SIGKILL, lambda: steps_logged(run) >= 6) == -signal.SIGKILL
    _, state, position = CheckpointFolder(run / "ckpt_0", "ssd", 10).latest()
    assert position["step"] == 5 and position["best_ap"] >= 0
    assert any(name.startswith("ema.") for name in state) and any(name.startswith("sum.") for name in state)
    end(cli.start("train", tmp_path, **flags, output_path=run, resume=True))

    end(reference)
    assert_same_end(run, tmp_path / "reference", steps=8)
    evaluations = [[(line["epoch"], line["AP"]) for line in read_metrics(folder / "metrics.jsonl") if "AP" in line]
                   for folder in (run, tmp_path / "reference")]
    assert [epoch for epoch, _ in evaluations[0]] == [1, 2] and evaluations[0] == evaluations[1]
    own, averaged = (state[name] for name in ("backbone.stem.conv.weight", "ema.backbone.stem.conv.weight"))
    assert np.abs(own - averaged).max() > 0, "own weights and averages are told apart"


@pytest.mark.parametrize("changed, message", [
    ({"lr": 0.123}, "was started with other settings: lr: "),
    ({"coco_root": "{other}", "mindrecord_dir": "{other}/records"}, "was trained on other data: fingerprint: ")])
def test_a_refused_resume_changes_nothing_in_the_run_folder(cli, drawn, stopped, tmp_path, changed, message):
    """Neither settings nor versions, the report of the audit, the metrics, or MindSpore's log."""
    run, _, _ = stopped
    draw_shapes(tmp_path / "other", train=8, val=2, seed=9)
    changed = {key: value.format(other=tmp_path / "other") if key != "lr" else value for key, value in changed.items()}
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    refused = cli.call("train", tmp_path, **{**drawn.flags, **PLAIN, **changed}, output_path=run, resume=True)

    assert refused.returncode == 2 and message in refused.stderr, refused.stderr
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert [path for path in {*before, *after} if before.get(path) != after.get(path)] == []


def test_a_finished_run_that_is_resumed_changes_nothing(cli, drawn, stopped):
    run, _, _ = stopped
    before = {path.name: path.read_bytes() for path in (run / "ckpt_0").iterdir()}
    with cli.compiled_once(run.parent):
        done = cli.call("train", run.parent, **drawn.flags, **PLAIN, output_path=run, resume=True)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (run / "ckpt_0").iterdir()} == before


def test_a_run_is_not_overwritten(cli, drawn, stopped):
    run, _, _ = stopped
    latest = json.loads((run / "ckpt_0" / "latest.json").read_text())
    refused = cli.call("train", run.parent, **drawn.flags, **PLAIN, output_path=run)
    assert refused.returncode == 2 and "holds a run already" in refused.stderr
    assert json.loads((run / "ckpt_0" / "latest.json").read_text()) == latest


@pytest.mark.nightly
def test_dropout_is_resumed_exactly(cli, drawn, tmp_path):
    """VGG16, at the smallest input that leaves its last maps a cell."""
    flags = {**drawn.flags, "img_shape": "257,257", "batch_size": 1, "epoch_size": 1, "save_checkpoint_epochs": 1}
    del flags["config_path"]
    for name, limits in (("reference", (3,)), ("run", (2, 3))):
        for limit in limits:
            done = cli.call("train", tmp_path, **flags, model_name="ssd_vgg16", lr=1e-4, lr_init=1e-4,
                            output_path=tmp_path / name, train_steps=limit, resume=limit != limits[0])
            assert done.returncode == 0, done.stderr
    assert_same_end(tmp_path / "run", tmp_path / "reference", steps=3)
