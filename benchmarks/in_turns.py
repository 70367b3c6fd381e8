"""Training steps and inference calls of this project and of torchvision, in turns on this machine.

    python benchmarks/in_turns.py [--torch_python PYTHON] [--model NAME ...] [--mode train|infer ...] [--rounds 3]
        [--repeats 7] [--shared] [--results FOLDER]

PYTHON: an interpreter with torch and torchvision; without it this one (`make peers` installs them). Both sides have
random weights, 80 classes, 8 objects per image and two threads. Ours run with and without the native operators.
Refuses to start when other work runs on the machine. With --shared it starts all the same, and the results say so: they
are good for trying the script, not for a comparison, since PyTorch's threads spin while they wait for each other.
Writes <date>-<machine>.json and .md into FOLDER (benchmarks/results).
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
BUSY = 0.25     # processes that wait for a core, on the average of the last minute
FROZEN = ("--feature_extractor_base_param", "none", "--frozen_body", "True", "--test_score_thr", "0")
LOW_SCORES = ("--initial_score", "0.01", "--min_score", "0.012")  # most scores are low, as after training


class Case(NamedTuple):
    """A row of the table: our model, its input and the settings that make it comparable."""

    model: str
    height: int
    width: int
    batch: int
    flags: tuple = ()

    def __str__(self) -> str:
        return f"`{self.model}`, {self.height}x{self.width}, {self.batch}"


CASES = (
    Case("ssd300", 300, 300, 8, LOW_SCORES),
    Case("ssd_vgg16", 300, 300, 4, LOW_SCORES),
    Case("ssd_resnet50_fpn", 640, 640, 1, LOW_SCORES),
    Case("faster_rcnn_resnet50", 320, 320, 2, FROZEN),
    Case("mask_rcnn_resnet50", 320, 320, 2, FROZEN),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--model", nargs="+", choices=[case.model for case in CASES])
    parser.add_argument("--mode", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--shared", action="store_true")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    if load > BUSY and not options.shared:
        print(f"other work runs on this machine (load {load:.1f}); stop it, or add --shared", file=sys.stderr)
        return 1
    rows = [row(case, mode, options) for case in CASES if not options.model or case.model in options.model
            for mode in options.mode]
    result = {"date": date.today().isoformat(), "machine": machine(), "shared": options.shared, "load": round(load, 1),
              "repeats": options.rounds * options.repeats, "rows": rows}
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"{result['date']}-{platform.node() or 'machine'}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table(result), encoding="utf-8")
    print(table(result))
    return 0


def row(case: Case, mode: str, options) -> dict:
    """Medians over the rounds of each side: {side: {median_s, cpu_s, peak_memory_mb}}."""
    shared = ["--config_path", settings_of(case.model), "--batch_size", case.batch, *case.flags, "--mode", mode,
              "--repeats", options.repeats, "--runtime_num_threads", 2, *size_flags(case)]
    ours = [sys.executable, HERE / "speed.py", *shared]
    theirs = [options.torch_python, HERE / "torchvision_models.py", case.model, mode, options.repeats, case.height,
              case.width, case.batch]
    sides = {"native": [*ours, "--native_ops", "True"], "mindspore": [*ours, "--native_ops", "False"],
             "torchvision": theirs}
    found: dict = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, command in sides.items():
            found[name].append(measured(name, command))
            print(case.model, mode, name, json.dumps(found[name][-1]), file=sys.stderr, flush=True)
    return {"case": str(case), "model": case.model, "mode": mode, **{
        name: {key: statistics.median(result[key] for result in results)
               for key in ("median_s", "cpu_s", "peak_memory_mb")} for name, results in found.items()}}


def measured(name: str, command: list) -> dict:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr.strip()}")
    result = json.loads(done.stdout.strip().splitlines()[-1])
    if name == "native" and not result["native"].endswith("in use"):
        sys.exit(f"{result['native']}; run make native first")
    return result


def settings_of(model: str) -> Path:
    sys.path.insert(0, str(HERE.parent))
    from src.models import MODELS

    return MODELS[model].config_path


def size_flags(case: Case) -> list:
    if case.model.startswith("ssd"):
        return ["--img_shape", f"{case.height},{case.width}"]
    return ["--img_height", case.height, "--img_width", case.width]


def machine() -> dict:
    """The processor, by what decides over speed."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    features = facts.get("flags", "").split()
    return {"processor": facts.get("model name", platform.processor() or platform.machine()),
            "avx512": "avx512f" in features, "amx": "amx_tile" in features, "cores": os.cpu_count(),
            "system": platform.system()}


def table(result: dict) -> str:
    machine_facts = result["machine"]
    kind = ", ".join([machine_facts["processor"], *(name for name, key in (("AVX-512", "avx512"), ("AMX", "amx"))
                                                    if machine_facts[key])])
    lines = [f"{kind}, {machine_facts['cores']} cores, {result['date']}"
             + (f", other work on the machine (load {result['load']})" if result["shared"] else ""), "",
             "| model, input, batch | mode | native s | MindSpore s | torchvision s | native / torchvision | native / "
             "MindSpore | the same, processor seconds | peak memory, native / torchvision |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for line in result["rows"]:
        native, plain, peer = (line[side] for side in ("native", "mindspore", "torchvision"))
        lines.append(f"| {line['case']} | {line['mode']} | {native['median_s']:.3f} | {plain['median_s']:.3f} | "
                     f"{peer['median_s']:.3f} | " + " | ".join(
                         f"{native[key] / other[key]:.2f}" for other, key in (
                             (peer, "median_s"), (plain, "median_s"), (plain, "cpu_s"), (peer, "peak_memory_mb")))
                     + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
