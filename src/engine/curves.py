"""Draws the curves of a training run from its metrics.jsonl."""
from __future__ import annotations

import io
from pathlib import Path

from src.files import parse_json, read_text

SMOOTHING = 0.9  # weight of the past in the drawn loss curve


def read_metrics(path: Path) -> list[dict]:
    """The lines of a metrics file as dicts, without lines that a crash cut off."""
    lines = []
    for text in read_text(path).splitlines():
        try:
            lines.append(parse_json(text))
        except ValueError:
            continue
    return lines


def draw_curves(lines: list[dict]) -> bytes | None:
    """Loss parts, learning rate and AP over the steps of a metrics file as a PNG; None before the first step."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    losses = [line for line in lines if "lr" in line]
    evaluations = [line for line in lines if "AP" in line and not line.get("plain")]
    if not losses:
        return None
    names = [name for name in losses[0] if "loss" in name]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, 3 if evaluations else 2)
    steps = [line["step"] for line in losses]
    for name in names:
        panels[0].plot(steps, _smooth([line[name] for line in losses]), label=name, linewidth=1.2)
    measured = [line for line in evaluations if line.get("val_loss") is not None]
    if measured:
        panels[0].plot([line["step"] for line in measured], [line["val_loss"] for line in measured], marker=".",
                       linestyle="--", color="black", linewidth=1, label="loss, validation")
    panels[0].set(title="loss (smoothed)", xlabel="step", yscale="log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter(ScalarFormatter())
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    panels[0].legend(frameon=False)
    panels[1].plot(steps, [line["lr"] for line in losses], linewidth=1.2)
    panels[1].set(title="learning rate", xlabel="step")
    if evaluations:
        for name in ("AP", "AP50"):
            panels[2].plot([line["step"] for line in evaluations], [line[name] for line in evaluations], marker=".",
                           label=name)
        panels[2].set(title="evaluation while training", xlabel="step", xlim=(0, None), ylim=(0, 1))
        panels[2].legend(frameon=False)
    for panel in panels:
        panel.grid(alpha=0.3)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def _smooth(values: list) -> list:
    smoothed, mean = [], None
    for value in values:
        if value is not None:
            mean = value if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * value
        smoothed.append(mean)
    return smoothed
