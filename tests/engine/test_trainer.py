"""The training loop with stand-ins for step, loader and checkpoints: when it evaluates, saves and stops."""
from __future__ import annotations

import contextlib
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from src.engine import logs as logs_module
from src.engine import trainer as module
from src.engine.curves import read_metrics
from src.engine.logs import TrainLog
from src.engine.trainer import Best, Position, Trainer
from src.entry import Terminated
from src.errors import CheckpointError, ResultError, TrainingError
from src.model_utils.device_adapter import Process

STEPS_PER_EPOCH = 4


class Value(float):
    """A number that is read like a tensor."""

    def asnumpy(self):
        return np.float32(self)


class Step:
    """Counts its calls; `skipped` gives skipped_in_row by step, `during` is called in a step with its number."""

    loss = SimpleNamespace(parts=("loss", "cls_loss"))

    def __init__(self, skipped=None, during=None, averages=()):
        self.averages = averages
        self.skipped = skipped or {}
        self.during = during
        self.calls = 0
        self.restored = None
        self.is_deployed = False

    def __call__(self, _images, **_stop):
        self.calls += 1
        if self.during is not None:
            self.during(self.calls)
        loss = Value("nan") if self.skipped.get(self.calls) else Value(2.0 / self.calls)
        return SimpleNamespace(losses=(loss, loss), grad_norm=Value(0.5),
                               skipped_in_row=Value(self.skipped.get(self.calls, 0)))

    def state(self):
        return {"calls": np.array(self.calls)}

    def restore(self, state):
        self.restored = state

    def deployed_weights(self):
        return {"weight": self.calls}

    def trained_weights(self):
        return {"plain weight": self.calls}

    @contextlib.contextmanager
    def deployed(self):
        self.is_deployed = True
        yield
        self.is_deployed = False


class Loader:
    """Four batches of two images; the images of epoch e and step s are 100 e + 10 s and the next."""

    steps_per_epoch = STEPS_PER_EPOCH

    def __init__(self):
        self.asked = []

    def epoch(self, epoch, start_step=0):
        self.asked.append((epoch, start_step))
        for step in range(start_step, STEPS_PER_EPOCH):
            yield {"image": None, "image_id": np.array([100 * epoch + 10 * step, 100 * epoch + 10 * step + 1])}


class Checkpoints:
    """Remembers the positions that were saved."""

    def __init__(self, folder):
        self.folder = folder
        self.positions = []

    def save(self, weights, state, position, model_name, classes, conditions):
        assert (model_name, classes, conditions) == ("tiny", ("a", "b"), {"img_shape": [8, 8]})
        assert weights["weight"] == state["calls"]
        self.positions.append(position)

    @property
    def steps(self):
        return [position["step"] for position in self.positions]


def settings(**changed):
    return SimpleNamespace(**{
        "epoch_size": 3, "train_steps": -1, "log_interval": 1, "save_checkpoint_epochs": 1,
        "save_checkpoint_steps": None, "max_nonfinite_steps": 10, "eval_start_epoch": 1, "eval_interval": 1,
        "early_stop_patience": 0, "save_best_ckpt": True, **changed})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """run(step, aps, start, ...) -> a Trainer, which has fitted unless told otherwise.

    aps: what the evaluations find, None = no evaluation. `trainer.saved_best`: (file, epoch, weights) of every
    best checkpoint; `trainer.deployed`: whether each evaluation was of the deployed weights.
    """
    monkeypatch.setattr(logs_module, "draw_curves", lambda _: None)
    with contextlib.ExitStack() as logs:
        def make(step=None, aps=None, start=None, fit=True, rank=0, **changed):
            step, start, results = step or Step(), start or Position(), iter(aps or ())

            def evaluate():
                trainer.deployed.append(step.is_deployed)
                return {"AP": next(results), "AP50": 0.5}

            log = logs.enter_context(TrainLog(tmp_path, rank, total_steps=12, done_steps=start.step))
            trainer = Trainer(step, Loader(), ("image",), np.linspace(1, 0.1, 12), settings(**changed), log,
                              Checkpoints(tmp_path), "tiny", ("a", "b"), Process(rank, 1, 0),
                              evaluate if aps else None, start, conditions={"img_shape": [8, 8]})
            trainer.deployed, trainer.saved_best = [], []
            monkeypatch.setattr(module, "save_weights", lambda path, weights, *_: trainer.saved_best.append(
                (path.name, trainer.position.epoch, *weights)))
            if fit:
                trainer.fit()
            return trainer

        yield make


# Length

def test_a_run_has_all_steps_of_all_epochs(run, tmp_path):
    trainer = run()
    assert trainer.train_step.calls == 3 * STEPS_PER_EPOCH
    assert trainer.loader.asked == [(0, 0), (1, 0), (2, 0)]
    assert trainer.position == Position(epoch=3, step=12, step_in_epoch=0)
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "lr" in line]
    assert [(line["step"], line["epoch"]) for line in lines] == [(s, 1 + (s - 1) // 4) for s in range(1, 13)]
    np.testing.assert_allclose([line["lr"] for line in lines], np.linspace(1, 0.1, 12))


@pytest.mark.parametrize("limit, steps", [(6, 6), (8, 8), (100, 12), (0, 0)])
def test_train_steps_stops_the_run(run, limit, steps):
    trainer = run(train_steps=limit)
    assert trainer.train_step.calls == steps
    assert trainer.checkpoints.steps[-1:] == [steps]


def test_only_every_nth_step_is_logged(run, tmp_path):
    run(log_interval=5)
    assert [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "lr" in line] == [5, 10]


# Checkpoints

@pytest.mark.parametrize("changed, saved", [
    ({}, [4, 8, 12]),
    ({"save_checkpoint_epochs": 2}, [8, 12]),        # the end is always saved
    ({"save_checkpoint_steps": 3}, [3, 6, 9, 12]),
    ({"save_checkpoint_steps": 4}, [4, 8, 12]),      # once where step and epoch end together
    ({"save_checkpoint_steps": 5, "train_steps": 7}, [5, 7]),
    ({"save_checkpoint_steps": 100}, [12]),
])
def test_save_intervals(run, changed, saved):
    assert run(**changed).checkpoints.steps == saved


def test_only_rank_0_saves(run):
    trainer = run(rank=1, aps=[0.1] * 3)
    assert trainer.checkpoints.steps == [] and trainer.saved_best == []


def test_metrics_are_on_disk_before_the_checkpoint_that_they_lead_to(run, tmp_path, monkeypatch):
    on_disk = []
    monkeypatch.setattr(Checkpoints, "save", lambda *_: on_disk.append(
        (tmp_path / "metrics.jsonl").read_text().count('"lr"')))
    run()
    assert on_disk == [4, 8, 12]


# Evaluation

@pytest.mark.parametrize("start, interval, epochs", [(1, 1, [1, 2, 3]), (2, 1, [2, 3]), (1, 2, [1, 3]), (4, 1, [3])])
def test_evaluates_at_its_epochs(run, tmp_path, start, interval, epochs):
    run(aps=[0.1] * 3, eval_start_epoch=start, eval_interval=interval)
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl") if "AP" in line] == epochs


def test_keeps_the_best(run):
    trainer = run(aps=[0.2, 0.5, 0.4])
    assert trainer.saved_best == [("best_map.ckpt", 1, "weight"), ("best_map.ckpt", 2, "weight")]
    assert trainer.best == Best(AP=0.5, AP50=0.5, epoch=2, later=1)


def test_every_best_checkpoint_is_described_once_it_is_there(run):
    trainer, described = run(aps=[0.2, 0.5, 0.4], fit=False), []
    trainer.describe_best = lambda path: described.append((path.name, len(trainer.saved_best)))
    trainer.fit()
    assert described == [("best_map.ckpt", 1), ("best_map.ckpt", 2)]


def test_the_end_of_a_run_is_evaluated_wherever_it_ends(run):
    trainer = run(aps=[0.1, 0.2], train_steps=6)
    assert trainer.saved_best == [("best_map.ckpt", 1, "weight"), ("best_map.ckpt", 1, "weight")]
    assert trainer.best.epoch == 2 and trainer.deployed == [True, True]


def test_weights_before_averaging_are_compared_at_the_end_and_the_better_ones_kept(run, capfd):
    trainer = run(Step(averages=("ema",)), aps=[0.1, 0.2, 0.3, 0.4])
    assert trainer.deployed == [True, True, True, False]
    assert trainer.saved_best[-1] == ("best_map.ckpt", 3, "plain weight")
    assert trainer.best == Best(AP=0.4, AP50=0.5, epoch=3, plain=True)
    assert run(Step(averages=("ema",)), aps=[0.1, 0.2, 0.3, 0.3]).best.plain is False
    shown = capfd.readouterr().err
    assert "epoch 3, step 12: AP 0.400, AP50 0.500 of the weights before averaging (best so far)" in shown


def test_an_evaluation_that_fails_does_not_end_the_training(run, tmp_path):
    def evaluate():
        raise ResultError("image 5 is unknown")

    trainer = run(fit=False)
    trainer.evaluate = evaluate
    trainer.fit()
    assert trainer.position.epoch == 3 and trainer.checkpoints.steps == [4, 8, 12]
    assert "training goes on: ResultError: image 5 is unknown" in (tmp_path / "loss_0.log").read_text(encoding="utf-8")


def test_the_first_evaluation_finds_a_checkpoint_in_case_it_takes_the_process_with_it(run):
    trainer, found = run(aps=[0.1] * 3, fit=False, save_checkpoint_epochs=3), []
    evaluate = trainer.evaluate
    trainer.evaluate = lambda: found.append(list(trainer.checkpoints.steps)) or evaluate()
    trainer.fit()
    assert found == [[4], [4], [4, 12]]


@pytest.mark.parametrize("limit, evaluations", [(3600, 2), (0, 1)])
def test_sigterm_is_followed_by_an_evaluation_where_that_is_quick(run, monkeypatch, limit, evaluations):
    monkeypatch.setattr(module, "QUICK_EVALUATION", limit)
    step = Step(during=lambda call: signal.raise_signal(signal.SIGTERM) if call == 6 else None)
    trainer = run(step, aps=[0.1, 0.2], fit=False)
    with handled_as_the_commands_do(), pytest.raises(Terminated):
        trainer.fit()
    assert len(trainer.deployed) == evaluations
    assert trainer.checkpoints.steps == [4, 6]


def test_save_best_ckpt_false_writes_none(run):
    assert run(aps=[0.2] * 3, save_best_ckpt=False).saved_best == []


def test_stops_early_when_patience_ends(run, tmp_path):
    trainer = run(aps=[0.3, 0.3, 0.2, 0.9], epoch_size=10, early_stop_patience=2)
    assert trainer.position.epoch == 3
    assert trainer.checkpoints.steps[-1] == 12
    assert "no AP above 0.3000 in 2 evaluations" in (tmp_path / "loss_0.log").read_text(encoding="utf-8")


def test_progress_renews_patience(run):
    assert run(aps=[0.3, 0.2, 0.4, 0.3, 0.2, 0.9], epoch_size=6, early_stop_patience=2).position.epoch == 5


# Steps that are not finite

def test_stops_after_too_many_steps_that_are_not_finite_and_names_the_pictures(run, tmp_path):
    step = Step(skipped={2: 1, 3: 0, 6: 1, 7: 2})
    with pytest.raises(TrainingError) as stop:
        run(step, max_nonfinite_steps=2)
    message = str(stop.value)
    assert step.calls == 7
    # the third step of the second epoch
    assert "step 7: the gradient is not finite" in message and "images 120, 121" in message
    assert "loss nan, cls_loss nan" in message and "gradient norm 0.5" in message and "learning rate 0.5" in message
    assert "2 steps in a row" in message
    text = (tmp_path / "loss_0.log").read_text(encoding="utf-8")
    assert "step 2: the gradient is not finite, the step was left out" in text and "images 10, 11" in text


def test_a_step_that_is_not_finite_is_logged_whatever_the_interval(run, tmp_path):
    run(Step(skipped={2: 1}), log_interval=100)
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "lr" in line]
    assert [(line["step"], line["loss"]) for line in lines] == [(2, None)]


# Signals

@contextlib.contextmanager
def handled_as_the_commands_do():
    def terminate(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield terminate
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number, end", [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_run_after_the_step_and_its_save(run, number, end):
    step = Step(during=lambda call: signal.raise_signal(number) if call == 6 else None)
    trainer = run(step, fit=False)
    with handled_as_the_commands_do(), pytest.raises(end):
        trainer.fit()
    assert step.calls == 6
    saved = trainer.checkpoints.positions[-1]
    assert (saved["epoch"], saved["step"], saved["step_in_epoch"]) == (1, 6, 2)


def test_a_second_signal_acts_at_once(run):
    def twice(call):
        if call == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the step went on")

    trainer = run(Step(during=twice), fit=False)
    with handled_as_the_commands_do(), pytest.raises(Terminated):
        trainer.fit()
    assert trainer.checkpoints.steps == []


def test_handlers_are_put_back(run):
    with handled_as_the_commands_do():
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        run()
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_signal_in_an_evaluation_ends_the_run_with_the_epoch_saved(run):
    def evaluate():
        signal.raise_signal(signal.SIGTERM)
        return {"AP": 0.1, "AP50": 0.2}

    trainer = run(fit=False)
    trainer.evaluate = evaluate
    with handled_as_the_commands_do(), pytest.raises(Terminated):
        trainer.fit()
    assert 4 in trainer.checkpoints.steps
    assert trainer.train_step.calls <= 5


# Going on

def resumed(run, stop: int):
    """A trainer at the position that was saved when a signal came in step `stop`."""
    step = Step(during=lambda call: signal.raise_signal(signal.SIGTERM) if call == stop else None)
    first = run(step, fit=False)
    with handled_as_the_commands_do(), pytest.raises(Terminated):
        first.fit()
    trainer = run(start=Position(step=stop), fit=False)
    trainer.resume({"calls": stop}, json.loads(json.dumps(first.checkpoints.positions[-1])))
    return trainer


def test_goes_on_in_the_middle_of_an_epoch(run):
    trainer = resumed(run, stop=6)
    trainer.fit()
    assert trainer.train_step.restored == {"calls": 6}
    assert trainer.loader.asked == [(1, 2), (2, 0)]
    assert trainer.train_step.calls == 6 and trainer.position.step == 12


@pytest.mark.parametrize("stop", [4, 12])
def test_goes_on_from_the_last_step_of_an_epoch(run, stop):
    trainer = resumed(run, stop)
    trainer.fit()
    assert trainer.train_step.calls == 12 - stop
    assert trainer.position == Position(epoch=3, step=12, step_in_epoch=0)


def test_a_finished_run_is_not_saved_again(run):
    trainer = run(fit=False)
    trainer.resume({}, {"epoch": 3, "step": 12, "step_in_epoch": 0})
    trainer.fit()
    assert trainer.train_step.calls == 0 and trainer.checkpoints.steps == []


@pytest.mark.parametrize("before, now, said", [
    (True, False, "were in use before this resume, and now they are not;"),
    (None, True, "were not in use before this resume, and now they are in use;"), (True, True, None)])
def test_a_resume_with_other_operators_is_said(run, monkeypatch, capsys, before, now, said):
    monkeypatch.setattr(module.native, "in_use", lambda: now)
    stored = {} if before is None else {"native_ops": before}
    run(fit=False).resume({}, {"epoch": 1, "step": 4, "step_in_epoch": 0, **stored})
    printed = capsys.readouterr()
    lines = printed.out + printed.err
    assert said in lines if said else "native operators" not in lines


def test_best_ap_survives_a_resume(run):
    first = run(aps=[0.5, 0.3], fit=False, train_steps=8)
    first.fit()
    trainer = run(aps=[0.4], start=Position(epoch=2, step=8), fit=False)
    trainer.resume({}, first.checkpoints.positions[-1])
    assert trainer.best == Best(AP=0.5, AP50=0.5, epoch=1, later=1)
    trainer.fit()
    assert trainer.saved_best == [] and trainer.best.later == 2


def test_a_position_of_an_earlier_version_is_read(run):
    trainer = run(fit=False)
    trainer.resume({}, {"epoch": 1, "step": 4, "step_in_epoch": 0, "best_ap": 0.5, "evaluations_without_progress": 1})
    assert trainer.position == Position(epoch=1, step=4)


def test_a_position_of_another_version_is_refused(run):
    with pytest.raises(CheckpointError, match="position cannot be read.*colour"):
        run(fit=False).resume({}, {"epoch": 1, "colour": "red"})
