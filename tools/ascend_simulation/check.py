"""Compile all models for Ascend without one, and run the host's side of the programs.

    python tools/ascend_simulation/check.py [--models ssd300 ...] [--ranks 8] [--folder FOLDER]

On the stand-ins of build.py each model is trained for a step at the input size and batch of its file, evaluated, and
exported as MindIR and AIR, by the programs and flags of a user (programs.py). MindSpore compiles the graphs, selects a
kernel for every operator, plans the memory and launches; kernels are not executed, so that all results are 0. Prints a
row for each model: seconds of the programs; the memory that MindSpore plans; collectives in the graph of the step; how
many operators have a kernel of which kind (aclnn and aclop: CANN's), and which have none for Ascend, so that the host's
processor would compute them. Ends with code 1 if a program failed or an operator has no kernel. What the programs
printed is in FOLDER/<model>/programs.log.

It does not show numbers, speed, limits of the kernels themselves, or waiting between ranks. MindSpore does not ask for
the chip in a simulation and does what it does on a 910B.
"""
from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from src.data.shapes import draw_shapes  # noqa: E402
from src.models import MODELS  # noqa: E402

PEAK = re.compile(r"Actual peak memory usage \(with fragments\): (\d+)M")
# MindSpore's messages of level INFO about the choice of kernels.
SELECTED = re.compile(r"\] (?P<operator>\w+) select (?P<kind>\w+) kernel")
ON_HOST = re.compile(r"Try to use backoff CPU kernel, node:\S*?(?P<operator>\w+)-op\d+")
# Nodes are numbered from 0 in each graph, so that the names of one graph are among those of a larger one.
COLLECTIVE = re.compile(r"AddStreamIdByGroup\] Set stream id by group \d+ for node (\S*AllReduce-op\d+)")
STEP = re.compile(r"step (?P<name>\w+) (?P<seconds>\d+)")
HOST = "host"
FAILED = "FAILED"


COLUMNS = ("train", "evaluate", "MINDIR", "AIR")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batch_size", type=int, help="images per step (default: as in the model's file)")
    parser.add_argument("--ranks", type=int, default=1, help="devices of the job, of which this is the first")
    parser.add_argument("--steps", nargs="+", choices=COLUMNS, default=COLUMNS)
    parser.add_argument("--folder", type=Path, default=ROOT / "ascend_simulation")
    options = parser.parse_args()
    folder = options.folder.resolve()
    subprocess.run([sys.executable, str(HERE / "build.py"), str(folder)], check=True)
    if not (folder / "shapes").exists():
        draw_shapes(folder / "shapes", train=64, val=2)
    steps = list(options.steps)
    print(" | ".join(["| model", *steps, "memory", "collectives", "kernels |"]))
    print("| --- " * (len(steps) + 4) + "|")
    failed = False
    for model in options.models:
        seconds, kernels = run_programs(model, folder, steps, options.batch_size, options.ranks)
        row = [f"`{model}`", *(seconds.get(step, FAILED) for step in steps), f"{kernels.peak / 1024:.1f} GB",
               str(len(kernels.collectives)), str(kernels)]
        print(f"| {' | '.join(row)} |", flush=True)
        failed |= set(seconds) < set(steps) or bool(kernels[HOST])
    print(f"seconds of each program; logs are in {folder}/<model>")
    return int(failed)


class Kernels(defaultdict):
    """Names of operators by the kind of kernel that MindSpore selected.

    peak: MiB that it planned. collectives: nodes of the graph with most of them, the training step.
    """

    def __init__(self) -> None:
        super().__init__(set)
        self.peak = 0
        self.collectives: set[str] = set()

    def note(self, line: str) -> None:
        """Take up a line of MindSpore's log."""
        if found := SELECTED.search(line):
            self[found["kind"]].add(found["operator"])
        elif found := ON_HOST.search(line):
            self[HOST].add(found["operator"])
        elif found := PEAK.search(line):
            self.peak = int(found[1])
        elif found := COLLECTIVE.search(line):
            self.collectives.add(found[1])

    def __str__(self) -> str:
        counts = [f"{kind} {len(self[kind])}" for kind in sorted(set(self) - {HOST})]
        return ", ".join(counts + [f"HOST: {' '.join(sorted(self[HOST]))}"] * bool(self[HOST]))


def run_programs(model: str, folder: Path, steps: list[str], batch_size: int | None,
                 ranks: int) -> tuple[dict[str, str], Kernels]:
    """The seconds of each step that succeeded, and the kernels. The log has no messages of MindSpore's level INFO."""
    shutil.rmtree(folder / model, ignore_errors=True)
    log = folder / model / "programs.log"
    log.parent.mkdir(parents=True)
    environment = {**os.environ, "GLOG_v": "2", "MS_SUBMODULE_LOG_v": "{DEVICE:1}"}   # all would be 80 MB of log
    command = [str(HERE / "run.sh"), str(folder), sys.executable, str(HERE / "programs.py"), str(folder), model,
               "--steps", *steps]
    if batch_size is not None:
        command += ["--batch_size", str(batch_size)]
    if ranks > 1:
        environment.update(RANK_ID="0", RANK_SIZE=str(ranks), DEVICE_ID="0")
        command.append("--distributed")
    seconds, kernels = {}, Kernels()
    with open(log, "w", encoding="utf-8") as output, subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=log.parent,
            encoding="utf-8", errors="replace") as process:
        for line in process.stdout or ():
            kernels.note(line)
            if found := STEP.fullmatch(line.rstrip()):
                seconds[found["name"]] = f"{found['seconds']} s"
            if not line.startswith("[INFO]"):
                output.write(line)
    return seconds, kernels


if __name__ == "__main__":
    sys.exit(main())
