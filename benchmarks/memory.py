"""Resident memory of predict.py over many images (Linux).

    python benchmarks/memory.py --model_path FILE.onnx [--images 10000] [any setting of predict.py]

Writes small drawn images (96 x 72 pixels, 64 different ones) into a temporary folder, runs predict.py on it, and prints
a line of JSON: MiB of its process after each tenth of the images.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import memory_mb  # noqa: E402
from src.data.images import encode_jpeg  # noqa: E402
from src.data.shapes import draw_image  # noqa: E402
from src.entry import run  # noqa: E402

SIZE = (96, 72)
DIFFERENT = 64
PAUSE = 0.2     # seconds between two looks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--images", type=int, default=10_000)
    own, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        images, out, measured = Path(name, "images"), Path(name, "out"), []
        write_images(images, own.images)
        process = subprocess.Popen([sys.executable, ROOT / "predict.py", f"--model_path={own.model_path}",
                                    f"--img_path={images}", f"--result_path={out}", *flags])
        while process.poll() is None:
            time.sleep(PAUSE)
            done = sum(1 for _ in out.glob("*.jpg")) if out.is_dir() else 0
            if done >= (len(measured) + 1) * own.images // 10 and process.poll() is None:
                measured.append(memory_mb(process.pid))
    print(json.dumps({"images": own.images, "MiB after each tenth": measured}))
    return process.returncode


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    contents = [encode_jpeg(draw_image(SIZE, np.random.default_rng(seed))[0], 90) for seed in range(DIFFERENT)]
    for number in range(count):
        (folder / f"{number:05d}.jpg").write_bytes(contents[number % DIFFERENT])


if __name__ == "__main__":
    sys.exit(run(main))
