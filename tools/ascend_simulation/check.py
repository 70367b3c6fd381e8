"""Compile all models for Ascend without one, and run the host's side of the programs.

    python tools/ascend_simulation/check.py [--models ssd300 ...] [--soc Ascend910A] [--folder FOLDER]

On the stand-ins of build.py each model is trained for a step with `train.py --device_target Ascend`, evaluated by
`eval.py` and exported as MindIR by `export.py`. MindSpore compiles the graphs, selects a kernel for every operator,
plans the memory and launches; kernels are not executed, so that all results are 0. Prints a row for each model: seconds
of the programs, the memory that MindSpore plans for the step, how many operators have a kernel of which kind (aclnn and
aclop: CANN's), and which have none for Ascend, so that the host's processor would compute them. Ends with code 1 if a
program failed or an operator has no kernel. What the programs printed is in FOLDER/<model>/*.log.

It does not show numbers, speed, limits of the kernels themselves, or waiting between ranks.
"""
from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from src.data.shapes import draw_shapes  # noqa: E402
from src.models import MODELS  # noqa: E402

PEAK = re.compile(r"Actual peak memory usage \(with fragments\): (\d+)M")
# MindSpore's messages of level INFO about the choice of kernels.
SELECTED = re.compile(r"\] (?P<operator>\w+) select (?P<kind>\w+) kernel")
ON_HOST = re.compile(r"Try to use backoff CPU kernel, node:\S*?(?P<operator>\w+)-op\d+")
HOST = "host"
FAILED = "FAILED"


class Step(NamedTuple):
    """One program that a model goes through."""

    name: str
    program: str
    flags: tuple[str, ...]


def steps(model: str, folder: Path, shapes: Path, batch_size: int) -> list[Step]:
    data = ("--coco_root", str(shapes), "--device_target", "Ascend", "--verbose", "True")
    checkpoint = str(folder / "run")
    return [
        Step("train", "train.py", ("--config_path", str(MODELS[model].config_path), *data, "--output_path", checkpoint,
                                   "--epoch_size", "1", "--train_steps", "1", "--batch_size", str(batch_size),
                                   "--feature_extractor_base_param", "none", "--run_eval", "False")),
        Step("evaluate", "eval.py", ("--model_path", checkpoint, *data, "--result_path", str(folder / "eval"))),
        Step("export", "export.py", ("--model_path", checkpoint, "--device_target", "Ascend", "--verbose", "True",
                                     "--file_format", "MINDIR", "--result_path", str(folder / "export"))),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--soc", default="Ascend910B2", help="name of the chip (default Ascend910B2)")
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "ascend_simulation")
    options = parser.parse_args()
    folder = options.folder.resolve()
    subprocess.run([sys.executable, str(HERE / "build.py"), str(folder)], check=True)
    draw_shapes(folder / "shapes", train=2 * options.batch_size, val=2)
    failed = False
    print(f"{'model':24} {'train':>8} {'evaluate':>8} {'export':>8} {'memory':>8}  kernels")
    for model in options.models:
        cells, kernels = [], Kernels()
        memory = ""
        for step in steps(model, folder / model, folder / "shapes", options.batch_size):
            cells.append(run_step(step, folder, model, options.soc, kernels))
            memory = memory or f"{kernels.peak / 1024:.1f} GB"  # of the training
            if cells[-1] == FAILED:
                break
        cells += [""] * (3 - len(cells)) + [memory]
        print(f"{model:24} {' '.join(f'{cell:>8}' for cell in cells)}  {kernels}", flush=True)
        failed |= FAILED in cells or bool(kernels[HOST])
    print(f"chip {options.soc}; logs in {folder}/<model>")
    return int(failed)


class Kernels(defaultdict):
    """Names of operators by the kind of kernel that MindSpore selected; peak: MiB that the last program planned."""

    def __init__(self) -> None:
        super().__init__(set)
        self.peak = 0

    def note(self, line: str) -> None:
        """Take up a line of MindSpore's log."""
        if found := SELECTED.search(line):
            self[found["kind"]].add(found["operator"])
        elif found := ON_HOST.search(line):
            self[HOST].add(found["operator"])
        elif found := PEAK.search(line):
            self.peak = int(found[1])

    def __str__(self) -> str:
        counts = [f"{kind} {len(self[kind])}" for kind in sorted(set(self) - {HOST})]
        return ", ".join(counts + [f"HOST: {' '.join(sorted(self[HOST]))}"] * bool(self[HOST]))


def run_step(step: Step, folder: Path, model: str, soc: str, kernels: Kernels) -> str:
    """Run the program; returns its seconds, or FAILED. Its log leaves out MindSpore's messages of level INFO."""
    log = folder / model / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SIMULATED_SOC": soc, "GLOG_v": "1"}
    command = [str(HERE / "run.sh"), str(folder), sys.executable, str(ROOT / step.program), *step.flags]
    begin = time.monotonic()
    with open(log, "w", encoding="utf-8") as output, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=log.parent,
            encoding="utf-8", errors="replace") as process:
        for line in process.stdout or ():
            kernels.note(line)
            if not line.startswith("[INFO]"):
                output.write(line)
    return f"{time.monotonic() - begin:.0f} s" if process.returncode == 0 else FAILED


if __name__ == "__main__":
    sys.exit(main())
