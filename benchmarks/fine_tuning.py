"""AP on the test split of a VOC set after trainings of different length that start from COCO weights.

    python benchmarks/fine_tuning.py --pre_trained ssd300_coco.ckpt --voc_root <VOC folder> --output_path FOLDER \
        --epochs 10 20 40 [any setting]

Prints one line of JSON for each training: its epochs, its seconds (by the clock, and those of the processor, which
other work on the machine changes less), AP and AP50 of its best checkpoint on `test`.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.entry import run  # noqa: E402

CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_finetune.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config_path", type=Path, default=CONFIG)
    parser.add_argument("--pre_trained", type=Path, required=True)
    parser.add_argument("--voc_root", type=Path, required=True)
    parser.add_argument("--output_path", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20, 40])
    own, flags = parser.parse_known_args()
    data = ["--dataset", "voc", "--voc_root", own.voc_root.resolve(), "--device_target", "CPU"]
    for epochs in own.epochs:
        folder = own.output_path.resolve() / f"{epochs}_epochs"
        before = time.monotonic(), processor_seconds()
        call("train.py", "--config_path", own.config_path.resolve(), "--pre_trained", own.pre_trained.resolve(), *data,
             "--epoch_size", epochs, "--output_path", folder, "--mindrecord_dir",
             own.output_path.resolve() / "mindrecord", *flags)
        seconds, processor = time.monotonic() - before[0], processor_seconds() - before[1]
        table = call("eval.py", "--model_path", folder, *data, "--eval_split", "test", "--result_path", folder / "test")
        ap, ap50 = (float(value) for value in re.findall(r"AP.*area= +all .*= (-?[0-9.]+)", table)[:2])
        print(json.dumps({"epochs": epochs, "seconds": round(seconds), "processor seconds": round(processor),
                          "AP": ap, "AP50": ap50}), flush=True)
    return 0


def call(program: str, *flags) -> str:
    """Run a program; returns what it printed."""
    command = [sys.executable, ROOT / program, *flags]
    done = subprocess.run([str(word) for word in command], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, file=sys.stderr)
    return done.stdout


def processor_seconds() -> float:
    """Seconds that the children of this process have computed."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(run(main))
