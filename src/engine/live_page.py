"""Writes live.html of a run folder: the state of the training, in one file that reloads itself."""
from __future__ import annotations

import base64

import jinja2

TEMPLATE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
{% if running %}<meta http-equiv="refresh" content="30">{% endif %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 1rem auto; padding: 0 1rem; }
img { max-width: 100%; background: white; } table { border-collapse: collapse; }
td, th { padding: .15rem 1rem .15rem 0; text-align: right; } th:first-child, td:first-child { text-align: left; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e6e6; } }
</style></head><body>
<h1>{{ name }}</h1>
<p>{{ "Running" if running else "Ended" }}: step {{ last.step }} of {{ total }}, epoch {{ last.epoch }}{% if rate %},
{{ "%.2f"|format(rate) }} s per step{% endif %}{% if running and rate %}, about {{ left }} to go{% endif %}.</p>
<img alt="loss, learning rate and AP over the steps" src="data:image/png;base64,{{ curves }}">
<table><tr>{% for key in losses %}<th>{{ key }}</th>{% endfor %}</tr>
<tr>{% for value in losses.values() %}<td>{{ value }}</td>{% endfor %}</tr></table>
{% if evaluations %}<h2>Evaluations</h2>
<table><tr><th>epoch</th><th>step</th><th>AP</th><th>AP50</th><th>validation loss</th></tr>
{% for line in evaluations %}<tr><td>{{ line.epoch }}{{ " (before averaging)" if line.plain }}</td>
<td>{{ line.step }}</td><td>{{ "%.3f"|format(line.AP) }}</td><td>{{ "%.3f"|format(line.AP50) }}</td>
<td>{{ "%.3f"|format(line.val_loss) if line.val_loss is not none and line.val_loss is defined }}</td></tr>
{% endfor %}</table>{% endif %}
</body></html>
""")


def live_page(name: str, lines: list[dict], curves: bytes, total_steps: int, running: bool) -> str:
    """The HTML page. lines: lines of metrics.jsonl with at least one step. curves: PNG bytes."""
    steps = [line for line in lines if "lr" in line]
    last = steps[-1]
    seconds = sorted(line["step_seconds"] for line in steps[-50:] if line.get("step_seconds"))
    rate = seconds[len(seconds) // 2] if seconds else None
    minutes = round((total_steps - last["step"]) * (rate or 0) / 60)
    losses = {key: "not finite" if value is None else f"{value:.4g}" for key, value in last.items()
              if "loss" in key or key in ("lr", "grad_norm")}
    return TEMPLATE.render(
        name=name, running=running, last=last, total=total_steps, rate=rate, losses=losses,
        left=f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min",
        curves=base64.b64encode(curves).decode(), evaluations=[line for line in lines if "AP" in line][::-1])
