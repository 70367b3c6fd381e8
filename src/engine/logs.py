"""What a training run leaves to read: log lines in the old zoo's form, metrics.jsonl, curves, a progress bar."""
from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.files import write_file

SMOOTHING = 0.9  # weight of the past in the drawn loss curve


class TrainLog:
    """loss_<rank>.log for people and scripts that know the zoo's lines, metrics.jsonl with the same numbers.

    A progress bar with the current numbers stands on the terminal of rank 0. Both files are appended to when a run is
    resumed; `drop_after` first takes out what was logged beyond the state that is resumed.
    """

    def __init__(self, folder: Path, rank: int, total_steps: int, done_steps: int = 0):
        self.folder = folder
        self.metrics_path = folder / ("metrics.jsonl" if rank == 0 else f"metrics_{rank}.jsonl")
        self.log_path = folder / f"loss_{rank}.log"
        drop_after(self.metrics_path, done_steps)
        self._metrics = self.metrics_path.open("a", encoding="utf-8", buffering=1)
        self._log = self.log_path.open("a", encoding="utf-8", buffering=1)
        self._bar = tqdm(total=total_steps, initial=done_steps, unit="step", disable=rank != 0, file=sys.stderr,
                         dynamic_ncols=True, mininterval=1 if sys.stderr.isatty() else 30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bar.close()
        self._metrics.close()
        self._log.close()

    def step(self, step: int, epoch: int, step_in_epoch: int, losses: dict, **numbers) -> None:
        """One logged step: total loss first, then the parts."""
        total, *parts = losses.items()
        line = f"epoch: {epoch} step: {step_in_epoch}, {total[0]} is {total[1]:.7g}"
        line += "".join(f", {name}: {value:.5f}" for name, value in parts)
        self._log.write(line + f", lr: {numbers['lr']:.6f}\n")
        self._record(step=step, epoch=epoch, **losses, **numbers)
        self._bar.set_postfix_str(f"epoch {epoch}, loss {total[1]:.3f}", refresh=False)

    def advance(self) -> None:
        self._bar.update()

    def epoch(self, step: int, epoch: int, seconds: float, steps: int, data_share: float) -> None:
        """End of an epoch. data_share: part of the time that training waited for pictures."""
        self._log.write(f"epoch time: {seconds * 1000:.3f} ms, per step time: {seconds * 1000 / steps:.3f} ms\n")
        self._record(step=step, epoch=epoch, epoch_seconds=round(seconds, 3), data_share=round(data_share, 4))

    def evaluation(self, step: int, epoch: int, summary: dict) -> None:
        self._log.write(f"epoch: {epoch}, mAP: {summary['AP']}\n")
        self._record(step=step, epoch=epoch, **{name: float(value) for name, value in summary.items()})

    def say(self, text: str) -> None:
        """A sentence above the progress bar, and in the log."""
        self._log.write(text + "\n")
        if not self._bar.disable:
            self._bar.write(text, file=sys.stderr)

    def _record(self, **numbers) -> None:
        # NaN has no place in JSON; a loss that is not finite is null.
        finite = {name: None if isinstance(value, float) and not np.isfinite(value) else value
                  for name, value in numbers.items()}
        self._metrics.write(json.dumps({**finite, "time": round(time.time(), 3)}) + "\n")


def drop_after(path: Path, step: int) -> None:
    """Remove the lines of a metrics file beyond `step`, and a last line that was cut off by a crash."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    write_file(path, "".join(json.dumps(line) + "\n" for line in kept))


def read_metrics(path: Path) -> list:
    """The lines of a metrics file as dicts, without those that a crash cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def draw_curves(metrics_path: Path) -> bytes | None:
    """Loss parts, learning rate and AP over the steps as a PNG, None before the first step."""
    from matplotlib.figure import Figure

    lines = read_metrics(metrics_path)
    losses = [line for line in lines if "lr" in line]
    evaluations = [line for line in lines if "AP" in line]
    if not losses:
        return None
    names = [name for name in losses[0] if "loss" in name]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, 3 if evaluations else 2)
    steps = [line["step"] for line in losses]
    for name in names:
        panels[0].plot(steps, _smooth([line[name] for line in losses]), label=name, linewidth=1.2)
    panels[0].set(title="loss (smoothed)", xlabel="step", yscale="log")
    panels[0].legend(frameon=False)
    panels[1].plot(steps, [line["lr"] for line in losses], linewidth=1.2)
    panels[1].set(title="learning rate", xlabel="step")
    if evaluations:
        for name in ("AP", "AP50"):
            panels[2].plot([line["step"] for line in evaluations], [line[name] for line in evaluations], marker=".",
                           label=name)
        panels[2].set(title="evaluation while training", xlabel="step", ylim=(0, 1))
        panels[2].legend(frameon=False)
    for panel in panels:
        panel.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _smooth(values: list) -> list:
    smoothed, mean = [], None
    for value in values:
        if value is not None:
            mean = value if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed.append(mean)
    return smoothed
