"""Writes live.html of a run folder: the state of the training, in one file that reloads itself."""
from __future__ import annotations

from pathlib import Path

from src.html_page import render

TEMPLATE = Path(__file__).with_name("live_page.html.j2")


def live_page(name: str, lines: list[dict], curves: bytes, total_steps: int, running: bool) -> str:
    """The HTML page. lines: lines of metrics.jsonl with at least one step. curves: PNG bytes."""
    steps = [line for line in lines if "lr" in line]
    last = steps[-1]
    seconds = sorted(line["step_seconds"] for line in steps[-50:] if line.get("step_seconds"))
    rate = seconds[len(seconds) // 2] if seconds else None
    minutes = round((total_steps - last["step"]) * (rate or 0) / 60)
    losses = {key: "not finite" if value is None else f"{value:.4g}" for key, value in last.items()
              if "loss" in key or key in ("lr", "grad_norm")}
    return render(
        TEMPLATE, name=name, running=running, last=last, total=total_steps, rate=rate, losses=losses,
        left=f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min",
        curves=curves, evaluations=[line for line in lines if "AP" in line][::-1])
