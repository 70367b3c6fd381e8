"""Train, evaluate and export a model in one process on the simulated Ascend; check.py starts it below run.sh.

    python tools/ascend_simulation/programs.py FOLDER MODEL [--batch_size N] [--steps train evaluate MINDIR AIR]

Calls the main functions of train.py, eval.py and export.py with the command lines of a user. Behind each it prints
"step NAME SECONDS" or "step NAME FAILED", which check.py reads. FOLDER/shapes has images of tools/draw_shapes.py.
"""
from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from src.models import MODELS  # noqa: E402

STEPS = ("train", "evaluate", "MINDIR", "AIR")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", choices=list(MODELS))
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--distributed", action="store_true", help="join the job that RANK_SIZE and RANK_ID name")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    options = parser.parse_args()
    for step in options.steps:
        begin = time.monotonic()
        print(f"begin {step}", flush=True)
        try:
            call(step, options.folder, options.model, options.batch_size, options.distributed)
        except BaseException:
            traceback.print_exc()
            print(f"step {step} FAILED", flush=True)
            return 1
        print(f"step {step} {time.monotonic() - begin:.0f}", flush=True)
    return 0


def run_program(name: str, flags: list[str]) -> None:
    """Run NAME.py as from a command line, but in this process, which has opened the device already."""
    importlib.import_module(name).main(flags)


def call(step: str, folder: Path, model: str, batch_size: int | None, distributed: bool) -> None:
    """Run one program with a user's flags."""
    run = folder / model / "run"
    device = ["--device_target", "Ascend", "--verbose", "True"]
    data = ["--coco_root", str(folder / "shapes"), *device]
    if step == "train":
        own = [] if batch_size is None else ["--batch_size", str(batch_size)]
        own += ["--run_distribute", "True"] if distributed else []
        records = folder / "records" / MODELS[model].family
        run_program("train", ["--config_path", str(MODELS[model].config_path), *data, *own, "--output_path", str(run),
                              "--mindrecord_dir", str(records), "--epoch_size", "1", "--train_steps", "1",
                              "--feature_extractor_base_param", "none", "--run_eval", "False"])
    elif step == "evaluate":
        run_program("eval", ["--model_path", str(run), *data, "--result_path", str(run / "eval")])
    else:
        flags = ["--model_path", str(run), *device, "--file_format", step, "--result_path", str(run / step)]
        try:
            run_program("export", flags)
        except FileNotFoundError as missing:
            # MindSpore has translated all operators when it looks for the file, which the graph engine would write.
            if not str(missing.filename).endswith(".air"):
                raise


if __name__ == "__main__":
    sys.exit(main())
