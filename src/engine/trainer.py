"""The training loop."""
from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import Callable, Optional

import numpy as np

from src.checkpoint import CheckpointFolder, save_weights
from src.engine.logs import TrainLog
from src.errors import CheckpointError, TrainingError
from src.model_utils.device_adapter import ALONE, Process

BEST = "best_map.ckpt"


@dataclass
class Position:
    """How far a run has come."""

    epoch: int = 0           # finished epochs
    step: int = 0            # finished steps of the whole run
    step_in_epoch: int = 0   # finished steps of the running epoch
    best_ap: float = -1.0
    evaluations_without_progress: int = 0


@dataclass
class Trainer:
    """Steps, logs, evaluates and saves; everything it needs is given to it, nothing is looked up.

    train_step: TrainStep. loader: TrainLoader. columns: arrays of a batch in the order of train_step's arguments.
    learning_rates: one per step, for the log. settings: the configuration's train section.
    evaluate: () -> summary with "AP" and "AP50", None = no evaluation while training. process: place among the ranks;
    rank 0 saves, and a signal that one of them gets stops all after the same step.
    """

    train_step: object
    loader: object
    columns: tuple
    learning_rates: np.ndarray
    settings: object
    log: TrainLog
    checkpoints: CheckpointFolder
    model_name: str
    classes: tuple
    process: Process = ALONE
    evaluate: Optional[Callable] = None
    position: Position = field(default_factory=Position)
    saved_step: int = -1

    def fit(self) -> None:
        """Train from `position` to the end, an early stop or a signal; raises TrainingError on non-finite steps."""
        with _DeferredSignals() as signals:
            while not self._is_finished():
                self._run_epoch(signals)
                if self.position.step_in_epoch == 0 and self._finish_epoch():
                    break
        if self.saved_step != self.position.step:
            self.save()

    def save(self) -> None:
        """Write weights and state of this position."""
        self.saved_step = self.position.step
        if self.process.rank == 0:
            self.checkpoints.save(self.train_step.deployed_weights(), self.train_step.state(), asdict(self.position),
                                  self.model_name, self.classes)

    def resume(self, state: dict, position: dict) -> None:
        """Go on from what `save` wrote; the weights are loaded already."""
        self.train_step.restore(state)
        try:
            self.position = Position(**position)
        except TypeError as error:
            raise CheckpointError(f"the saved position cannot be read: {error}; start without --resume") from None
        self.saved_step = self.position.step

    def _is_finished(self) -> bool:
        return (self.position.epoch >= self.settings.epoch_size
                or 0 <= self.settings.train_steps <= self.position.step)

    def _run_epoch(self, signals: _DeferredSignals) -> None:
        position, first = self.position, self.position.step_in_epoch
        started, waited = time.perf_counter(), 0.0
        with contextlib.closing(self.loader.epoch(position.epoch, start_step=first)) as batches:
            while position.step_in_epoch < self.loader.steps_per_epoch and not self._is_finished():
                asked = time.perf_counter()
                batch = next(batches)
                data_seconds = time.perf_counter() - asked
                waited += data_seconds
                self._step(batch, data_seconds)
                if self.process.any(signals.caught is not None):
                    self.save()
                    self.process.any()  # launchers kill the others as soon as one leaves: rank 0 has to be done
                    signals.deliver()
        if position.step_in_epoch == self.loader.steps_per_epoch:
            seconds = time.perf_counter() - started
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            if first < self.loader.steps_per_epoch:  # else the run was stopped at the last step of this epoch
                self.log.epoch(position.step, position.epoch, seconds, self.loader.steps_per_epoch - first,
                               waited / seconds)

    def _step(self, batch: dict, data_seconds: float) -> None:
        position, started = self.position, time.perf_counter()
        result = self.train_step(*(batch[column] for column in self.columns))
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
        """Evaluate and save where it is time to; whether the run stops early."""
        epoch, step, settings = self.position.epoch, self.position.step, self.settings
        since_start = epoch - settings.eval_start_epoch
        stop = (self.evaluate is not None and since_start >= 0 and since_start % settings.eval_interval == 0
                and self._evaluate())
        by_step = settings.save_checkpoint_steps
        if step % by_step == 0 if by_step else epoch % settings.save_checkpoint_epochs == 0:
            self.save()
        return stop

    def _evaluate(self) -> bool:
        """Evaluate the deployed weights and keep the best; whether patience is at its end."""
        position, patience = self.position, self.settings.early_stop_patience
        with self.train_step.deployed():
            summary = self.evaluate()
        self.log.evaluation(position.step, position.epoch, summary)
        if summary["AP"] > position.best_ap:
            position.best_ap, position.evaluations_without_progress = float(summary["AP"]), 0
            if self.settings.save_best_ckpt and self.process.rank == 0:
                save_weights(self.checkpoints.folder / BEST, self.train_step.deployed_weights(), self.model_name,
                             self.classes)
        else:
            position.evaluations_without_progress += 1
        if patience and position.evaluations_without_progress >= patience:
            self.log.say(f"stopped early: no AP above {position.best_ap:.4f} in {patience} evaluations")
            return True
        return False


class _DeferredSignals:
    """Ctrl-C and SIGTERM wait for the end of the step, so that weights and position are saved as one; a second one
    acts at once."""

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
        """Hand the signal, or the SIGTERM that stopped another rank, to whoever would have got it."""
        self.__exit__()
        signal.raise_signal(self.caught or signal.SIGTERM)

    def _catch(self, number, _frame):
        if self.caught is not None:
            self.deliver()
        self.caught = number
