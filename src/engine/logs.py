"""Logs of a training run: lines in the old zoo's format, metrics.jsonl, curves, a page that reloads itself, a progress
bar."""
from __future__ import annotations

import json
import math
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Optional

import numpy as np
from tqdm import tqdm

from src.engine.curves import draw_curves, read_metrics
from src.engine.live_page import live_page
from src.files import write_file
from src.printable import printable_stream

TOTAL_LAST = "total_loss"   # name of the two-stage families' total
PAGE_SECONDS = 60   # between two versions of live.html
PRINT_SECONDS = 30  # between two lines of a log file that stands for the terminal
EVERY_LINE = "EVERY_LINE"   # environment variable that the scripts set


class TrainLog:
    """Writes loss_<rank>.log in the zoo's line format, and metrics.jsonl with the same numbers.

    Rank 0 also shows a progress bar on the terminal, draws curves.png and live.html at every evaluation and at the end,
    and renews live.html once a minute. Where a file or pipe stands for the terminal, a line every 30 s is printed
    instead of the bar, and in the log files of the scripts, which the zoo's users search, every line. A resumed run
    appends to both files; `drop_after` first removes what was logged after the saved state.
    events: EventWriter for TensorBoard, or None.
    """

    def __init__(self, folder: Path, rank: int, total_steps: int, done_steps: int = 0, events=None):
        self.folder = folder
        self.metrics_path = folder / ("metrics.jsonl" if rank == 0 else f"metrics_{rank}.jsonl")
        self.log_path = folder / f"loss_{rank}.log"
        drop_after(self.metrics_path, done_steps)
        self._metrics = self.metrics_path.open("a", encoding="utf-8", buffering=1)
        self._log = printable_stream(self.log_path.open("a", encoding="utf-8", buffering=1))
        self._shows, self._total_steps = rank == 0, total_steps
        own_log = rank == 0 or "RANK_TABLE_FILE" in os.environ  # other launchers mix the output of all ranks
        self._prints = own_log and not sys.stderr.isatty()
        self._bar = tqdm(total=total_steps, initial=done_steps, unit="step", disable=not self._shows or self._prints,
                         file=sys.stderr, dynamic_ncols=True, mininterval=1)
        self._every_line = EVERY_LINE in os.environ
        self._first_step: Optional[int] = None  # of this process; it compiles the network
        self._started, self._printed = 0.0, -math.inf
        self._events = events
        self._drawn = time.monotonic()

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(self, *_) -> None:
        self._draw(running=False)
        self._bar.close()
        self._metrics.close()
        self._log.close()
        if self._events is not None:
            self._events.close()

    def step(self, step: int, epoch: int, step_in_epoch: int, losses: dict, **numbers) -> None:
        """Log one step."""
        if self._first_step is None:
            self._first_step, self._started = step, time.monotonic()
        self._write(step_line(epoch, step_in_epoch, losses, numbers["lr"]), step)
        self._record(step=step, epoch=epoch, **losses, **numbers)
        total = next(iter(losses.values()))
        self._bar.set_postfix_str(f"epoch {epoch}, loss {total:.3f}", refresh=False)

    def advance(self) -> None:
        self._bar.update()
        if time.monotonic() - self._drawn > PAGE_SECONDS:
            self._draw()

    def epoch(self, step: int, epoch: int, seconds: float, steps: int, data_share: float) -> None:
        """Log the end of an epoch. data_share: fraction of the time that training waited for images."""
        self._write(f"epoch time: {seconds * 1000:.3f} ms, per step time: {seconds * 1000 / steps:.3f} ms", step)
        self._record(step=step, epoch=epoch, epoch_seconds=round(seconds, 3), data_share=round(data_share, 4))

    def evaluation(self, step: int, epoch: int, summary: dict, is_best: bool = False, plain: bool = False) -> None:
        """Log an evaluation. plain: whether the weights before averaging were evaluated."""
        kind = " of the weights before averaging" if plain else ""
        loss = f", validation loss {summary['val_loss']:.3f}" if "val_loss" in summary else ""
        self._write(f"epoch: {epoch}, mAP{kind}: {summary['AP']}")
        self._show(f"epoch {epoch}, step {step}: AP {summary['AP']:.3f}, AP50 {summary['AP50']:.3f}{loss}{kind}"
                   + (" (best so far)" if is_best else ""))
        self._record(step=step, epoch=epoch, plain=plain, **{name: float(value) for name, value in summary.items()})
        self._draw()

    def evaluations(self) -> list[dict]:
        """The evaluations in the metrics file: step, epoch, plain, AP, AP50, ..."""
        return [{"plain": False, **line} for line in read_metrics(self.metrics_path) if "AP" in line]

    def say(self, text: str) -> None:
        """Print a sentence above the progress bar and write it into the log."""
        self._log.write(text + "\n")
        self._show(text)

    def _write(self, line: str, step: Optional[int] = None) -> None:
        """A line in the zoo's format, into the log and, without a terminal, into what takes its place.

        step: of a line that is one of many, so that not all of them are printed.
        """
        self._log.write(line + "\n")
        if not self._prints:
            return
        if step is not None and not self._every_line:
            if time.monotonic() - self._printed < PRINT_SECONDS:
                return
            self._printed = time.monotonic()
            line += self._progress(step)
        print(line, flush=True)

    def _progress(self, step: int) -> str:
        """The step of the whole run, and the time that the rest takes at the speed since the first step."""
        place, done = f"step {step} of {self._total_steps}", step - (self._first_step or step)
        if not done:
            return f" ({place})"
        left = (time.monotonic() - self._started) / done * (self._total_steps - step)
        return f" ({place}, {timedelta(seconds=round(left))} left)"

    def _show(self, text: str) -> None:
        if self._shows:
            self._bar.write(text, file=sys.stderr)

    def _draw(self, running: bool = True) -> None:
        """Rank 0: draw curves.png and live.html from the present metrics."""
        self._drawn = time.monotonic()
        if not self._shows:
            return
        lines = read_metrics(self.metrics_path)
        curves = draw_curves(lines)
        if curves is not None:
            write_file(self.folder / "curves.png", curves)
            write_file(self.folder / "live.html", live_page(self.folder.name, lines, curves, self._total_steps,
                                                             running))

    def _record(self, **numbers) -> None:
        # JSON has no NaN; a loss that is not finite is written as null.
        finite = {name: None if isinstance(value, float) and not np.isfinite(value) else value
                  for name, value in numbers.items()}
        self._metrics.write(json.dumps({**finite, "time": round(time.time(), 3)}) + "\n")
        if self._events is not None:
            self._events.write(finite)


def step_line(epoch: int, step: int, losses: dict, lr: float) -> str:
    """A step in the zoo's format. losses: the total, then its parts by name.

    SSD and CenterNet begin with the total, "loss is 3.17"; Faster and Mask R-CNN end with it, "total_loss: 3.17000".
    """
    total, *parts = losses.items()
    line = f"epoch: {epoch} step: {step}, "
    if total[0] == TOTAL_LAST:
        return line + "".join(f"{name}: {value:.5f}, " for name, value in (*parts, ("lr", lr), total))[:-2]
    return line + f"{total[0]} is {total[1]:.7g}" + "".join(f", {name}: {value:.5f}" for name, value in parts) + \
        f", lr: {lr:.6f}"


def drop_after(path: Path, step: int) -> None:
    """Remove the lines of a metrics file after `step`, and a last line that a crash cut off."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_file(path, "".join(json.dumps(line) + "\n" for line in kept))
