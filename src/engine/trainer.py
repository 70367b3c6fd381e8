"""The training loop."""
from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np

from src.checkpoint import BEST, CheckpointFolder, save_weights
from src.engine.logs import TrainLog
from src.errors import CheckpointError, DatasetError, TrainingError
from src.model_utils.device_adapter import ALONE, Process
from src.ops import native
from src.printable import counted
from src.settings.schema import TrainSection

# Entries of the position in files of earlier versions, which did not read evaluations from metrics.jsonl.
ONCE_IN_POSITION = ("best_ap", "evaluations_without_progress")
BESIDE_POSITION = ("data", "native_ops")    # stored with the position
QUICK_EVALUATION = 20.0  # longest evaluation, in seconds, that is still run after a SIGTERM


@dataclass
class Position:
    """The progress of a run."""

    epoch: int = 0           # finished epochs
    step: int = 0            # finished steps of the whole run
    step_in_epoch: int = 0   # finished steps of the current epoch


@dataclass
class Best:
    """The best evaluation so far, and the number of later ones."""

    AP: float = -1.0
    AP50: float = -1.0
    epoch: int = 0           # counted from 1; 0 = no evaluation yet
    plain: bool = False      # whether the weights before averaging were evaluated
    later: int = 0           # evaluations of the deployed weights since then

    def note(self, summary: dict, epoch: int, plain: bool) -> bool:
        """Record an evaluation; returns whether it is the best."""
        if summary["AP"] > self.AP:
            self.AP, self.AP50, self.epoch, self.plain = float(summary["AP"]), float(summary["AP50"]), epoch, plain
            self.later = 0
            return True
        self.later += not plain
        return False


@dataclass
class Trainer:
    """Runs the steps, logs, evaluates and saves.

    train_step: TrainStep. loader: TrainLoader. columns: arrays of a batch in the order of train_step's arguments.
    learning_rates: one per step, for the log. settings: the configuration's train section.
    evaluate: () -> summary with "AP" and "AP50", None = no evaluation while training. describe_best: called with the
    path of best_map.ckpt if the last evaluation wrote it. process: this process among the ranks; rank 0 saves, and a
    signal to one rank stops all after the same step. data: description of the training data, saved with the position so
    that a resumed run can compare it. conditions: what the checkpoints carry, see src/conditions.py.
    """

    train_step: Any
    loader: Any
    columns: tuple
    learning_rates: np.ndarray
    settings: TrainSection
    log: TrainLog
    checkpoints: CheckpointFolder
    model_name: str
    classes: tuple
    process: Process = ALONE
    evaluate: Optional[Callable] = None
    position: Position = field(default_factory=Position)
    best: Best = field(default_factory=Best)
    saved_step: int = -1
    evaluated: set = field(default_factory=set)  # (step, whether the weights before averaging)
    evaluation_seconds: float = 0.0
    data: dict = field(default_factory=dict)
    describe_best: Optional[Callable[[Path], None]] = None
    conditions: dict = field(default_factory=dict)

    def fit(self) -> None:
        """Train from `position` to the end, an early stop or a signal, then evaluate the last weights.

        Raises TrainingError after too many non-finite steps in a row.
        """
        if not self._is_finished():
            self.log.say("the first step compiles the network; the bar moves when that is done")
        with _DeferredSignals() as signals:
            while not self._is_finished():
                self._run_epoch_or_save(signals)
                if self.position.step_in_epoch == 0 and self._finish_epoch():
                    break
        if self.saved_step != self.position.step:
            self.save()
        self._evaluate_end()

    @property
    def best_path(self) -> Optional[Path]:
        """The checkpoint with the best AP of this run, or None."""
        path = self.checkpoints.folder / BEST
        return path if self.best.epoch and path.is_file() else None

    def save(self) -> None:
        """Write the weights and the state at this position."""
        self.saved_step = self.position.step
        if self.process.rank == 0:
            self.checkpoints.save(self.train_step.deployed_weights(), self.train_step.state(),
                                  {**asdict(self.position), "data": self.data, "native_ops": native.in_use()},
                                  self.model_name, self.classes, self.conditions)

    def resume(self, state: dict, position: dict) -> None:
        """Continue from a state that `save` wrote; the weights are already loaded."""
        self.train_step.restore(state)
        try:
            self.position = Position(**{name: value for name, value in position.items()
                                        if name not in (*ONCE_IN_POSITION, *BESIDE_POSITION)})
        except TypeError as error:
            raise CheckpointError(f"the saved position cannot be read: {error}; start without --resume") from None
        self.saved_step = self.position.step
        before = position.get("native_ops", False)
        if before != native.in_use():
            self.log.say(f"native operators were {'' if before else 'not '}in use before this resume, and now they are "
                         f"{'not' if before else 'in use'}; the run continues, but its numbers can differ in rounding")
        for line in self.log.evaluations():
            self.best.note(line, line["epoch"], line["plain"])
            self.evaluated.add((line["step"], line["plain"]))

    def _is_finished(self) -> bool:
        return (self.position.epoch >= self.settings.epoch_size
                or 0 <= self.settings.train_steps <= self.position.step)

    def _run_epoch_or_save(self, signals: _DeferredSignals) -> None:
        try:
            self._run_epoch(signals)
        except DatasetError:    # the steps before the failure are valid
            if self.saved_step != self.position.step:
                self.save()
            raise

    def _run_epoch(self, signals: _DeferredSignals) -> None:
        position, first = self.position, self.position.step_in_epoch
        started, waited = time.perf_counter(), 0.0
        with contextlib.closing(self.loader.epoch(position.epoch, start_step=first)) as batches:
            while position.step_in_epoch < self.loader.steps_per_epoch and not self._is_finished():
                asked = time.perf_counter()
                batch = next(batches)
                data_seconds = time.perf_counter() - asked
                waited += data_seconds
                stop = self._step(batch, data_seconds, signals)
                if stop:
                    self.save()
                    self.process.barrier()  # launchers kill all ranks when one ends, so rank 0 must finish first
                    if signals.caught == signal.SIGTERM and self.evaluation_seconds < QUICK_EVALUATION:
                        self._evaluate_end()
                    signals.deliver()
        if position.step_in_epoch == self.loader.steps_per_epoch:
            seconds = time.perf_counter() - started
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            if first < self.loader.steps_per_epoch:  # otherwise the run was stopped at the last step of this epoch
                self.log.epoch(position.step, position.epoch, seconds, self.loader.steps_per_epoch - first,
                               waited / seconds)

    def _step(self, batch: dict, data_seconds: float, signals: _DeferredSignals) -> bool:
        """Process a batch; returns whether all ranks stop after this step, because one of them got a signal."""
        position, started = self.position, time.perf_counter()
        result = self.train_step(*(batch[column] for column in self.columns), stop=signals.caught is not None)
        skipped = int(result.skipped_in_row.asnumpy())
        losses = {name: float(value.asnumpy()) for name, value in zip(self.train_step.loss.parts, result.losses)}
        numbers = {"lr": float(self.learning_rates[min(position.step, len(self.learning_rates) - 1)]),
                   "grad_norm": float(result.grad_norm.asnumpy()), "data_seconds": round(data_seconds, 4),
                   "step_seconds": round(time.perf_counter() - started, 4)}
        position.step += 1
        position.step_in_epoch += 1
        if position.step % self.settings.log_interval == 0 or skipped:
            self.log.step(position.step, position.epoch + 1, position.step_in_epoch, losses, **numbers)
        if skipped:
            self._report_skipped(skipped, losses, numbers, batch["image_id"])
        self.log.advance()
        interval = self.settings.save_checkpoint_steps
        if interval and position.step % interval == 0 and position.step_in_epoch < self.loader.steps_per_epoch:
            self.save()
        if self.process.size == 1:
            return signals.caught is not None
        # A signal during the step is known to the other ranks with the next one; behind an epoch there may be none.
        is_last = position.step_in_epoch == self.loader.steps_per_epoch or self._is_finished()
        return self.process.any(signals.caught is not None) if is_last else bool(result.stop.asnumpy()[0] > 0)

    def _report_skipped(self, skipped: int, losses: dict, numbers: dict, image_ids: np.ndarray) -> None:
        parts = ", ".join(f"{name} {value:.6g}" for name, value in losses.items())
        what = (f"step {self.position.step}: the gradient is not finite, the step was left out ({parts}, learning "
                f"rate {numbers['lr']:.6g}, gradient norm {numbers['grad_norm']:.6g}, "
                f"images {', '.join(map(str, image_ids.tolist()))})")
        self.log.say(what)
        if skipped >= self.settings.max_nonfinite_steps:
            raise TrainingError(f"{what}\n{skipped} steps in a row were not finite; lower the learning rate or the "
                                "loss scale, or look at these images with audit.py")

    def _finish_epoch(self) -> bool:
        """Save and evaluate if it is due; returns whether the run stops early."""
        epoch, step, settings = self.position.epoch, self.position.step, self.settings
        by_step = settings.save_checkpoint_steps
        save_now = step % by_step == 0 if by_step else epoch % settings.save_checkpoint_epochs == 0
        since_start = epoch - settings.eval_start_epoch
        evaluate_now = self.evaluate is not None and since_start >= 0 and since_start % settings.eval_interval == 0
        # What fails in an evaluation fails in the first one, and may take the process with it.
        if save_now or evaluate_now and not self.evaluated:
            self.save()
        if not evaluate_now:
            return False
        self._evaluate()
        return self._patience_is_over()

    def _evaluate_end(self) -> None:
        """Evaluate the last weights, unless the end of the epoch did. With averaging, also evaluate the weights before
        averaging, and keep the better ones as best_map.ckpt."""
        if self.evaluate is None:
            return
        for plain in (False, True) if self.train_step.averages else (False,):
            if (self.position.step, plain) not in self.evaluated:
                self._evaluate(plain)

    def _evaluate(self, plain: bool = False) -> None:
        """Evaluate the deployed weights, or with `plain` those before averaging; keep the best of the run."""
        position, started = self.position, time.perf_counter()
        with contextlib.nullcontext() if plain else self.train_step.deployed():
            summary = self._summary()
        self.evaluation_seconds = time.perf_counter() - started
        self.evaluated.add((position.step, plain))
        if summary is None:
            return
        epoch = position.epoch + (position.step_in_epoch > 0)
        is_best = self.best.note(summary, epoch, plain)
        self.log.evaluation(position.step, epoch, summary, is_best, plain)
        if is_best and self.settings.save_best_ckpt and self.process.rank == 0:
            weights = self.train_step.trained_weights() if plain else self.train_step.deployed_weights()
            save_weights(self.checkpoints.folder / BEST, weights, self.model_name, self.classes, self.conditions)
            if self.describe_best is not None:
                self.describe_best(self.checkpoints.folder / BEST)

    def _summary(self) -> Optional[dict]:
        """The result of `evaluate`. A failure is reported and gives None: it must not end the training."""
        assert self.evaluate is not None
        try:
            return self.evaluate()
        except Exception as error:
            if self.process.size > 1:   # the ranks are no longer at the same operation
                raise
            self.log.say(f"the evaluation after step {self.position.step} failed, training goes on: "
                         f"{type(error).__name__}: {error}")
            return None

    def _patience_is_over(self) -> bool:
        patience = self.settings.early_stop_patience
        if patience and self.best.later >= patience:
            self.log.say(f"stopped early: no AP above {self.best.AP:.4f} in {counted(patience, 'evaluation')}")
            return True
        return False


class _DeferredSignals:
    """Defers Ctrl-C and SIGTERM to the end of the step, so that saved weights and position agree; a second signal acts
    at once."""

    def __init__(self):
        self.caught = None
        self._handlers = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Call the original handler with the deferred signal, or with the SIGTERM that stopped another rank."""
        self.__exit__()
        number = self.caught or signal.SIGTERM
        handler = signal.getsignal(number)
        if callable(handler):   # called, not raised: SIGINT may be blocked, see src/model_utils/interrupts.py
            handler(number, None)
        else:
            signal.raise_signal(number)

    def _catch(self, number, _frame):
        if self.caught is not None:
            self.deliver()
        self.caught = number
