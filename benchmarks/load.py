"""Memory, open files and threads of a training of 50 epochs, and of one process that predicts 10,000 images (Linux).

    python benchmarks/load.py [--epochs 50] [--images 10000]

A small SSD on drawn images. Prints a line of JSON: MiB, open files and threads after each tenth of the epochs and of
the images. The first tenths compile and fill caches.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import memory_mb  # noqa: E402
from src.api import load_detector  # noqa: E402
from src.data.shapes import draw_image, draw_shapes  # noqa: E402
from src.engine.curves import read_metrics  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import TrainingError  # noqa: E402

CONFIG = ROOT / "config" / "ssd" / "ssd300_mobilenet_v2_small.yaml"
SIZE = (96, 72)
DIFFERENT = 64
PAUSE = 0.2     # seconds between two looks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--images", type=int, default=10_000)
    own = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training = train_small(folder, own.epochs)
        prediction = predict_many(folder / "run", own.images)
    print(json.dumps({"epochs": own.epochs, "training": training, "images": own.images, "prediction": prediction}))
    return 0


def usage(process: int) -> dict[str, int]:
    """What a process holds now."""
    place = f"/proc/{process}"
    return {"MiB": memory_mb(process), "files": len(os.listdir(f"{place}/fd")),
            "threads": len(os.listdir(f"{place}/task"))}


def train_small(folder: Path, epochs: int) -> list[dict[str, int]]:
    """`usage` after each tenth of the epochs, each of which is saved; every fifth is evaluated."""
    draw_shapes(folder / "shapes", train=8, val=2)
    process = subprocess.Popen([
        sys.executable, ROOT / "train.py", f"--config_path={CONFIG}", f"--coco_root={folder / 'shapes'}",
        f"--mindrecord_dir={folder / 'records'}", "--mindrecord_shards=1", f"--output_path={folder / 'run'}",
        f"--epoch_size={epochs}", "--batch_size=4", "--img_shape=96,96", "--save_checkpoint_epochs=1",
        "--eval_start_epoch=1", "--eval_interval=5", "--run_eval=True", "--python_multiprocessing=False",
        "--num_parallel_workers=2"], stdout=subprocess.DEVNULL)
    metrics, measured = folder / "run" / "metrics.jsonl", []
    while process.poll() is None:
        time.sleep(PAUSE)
        done = sum("epoch_seconds" in line for line in read_metrics(metrics)) if metrics.exists() else 0
        if done >= (len(measured) + 1) * epochs / 10 and process.poll() is None:
            measured.append(usage(process.pid))
    if process.returncode:
        raise TrainingError(f"the training ended with exit code {process.returncode}")
    return measured


def predict_many(model: Path, count: int) -> list[dict[str, int]]:
    """`usage` of this process after each tenth of the images."""
    images = [draw_image(SIZE, np.random.default_rng(seed))[0] for seed in range(DIFFERENT)]
    detector, measured = load_detector(model), []
    for number, _ in enumerate(detector.stream(images[index % DIFFERENT] for index in range(count)), 1):
        if number % max(1, count // 10) == 0:
            measured.append(usage(os.getpid()))
    return measured


if __name__ == "__main__":
    sys.exit(run(main))
