"""AP on a small VOC set after five epochs: from scratch, and from an SSD300 that was trained on the drawn set.

    python benchmarks/transfer.py --voc_root <VOC folder> --output_path FOLDER [--pre_trained FILE] [any setting]

The settings are for both runs on the VOC set; --pre_trained, a checkpoint of SSD300 with other classes, the one of
`make demo` for example, saves the run on the drawn set. Prints one line of JSON.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.data.shapes import draw_shapes  # noqa: E402
from src.engine.curves import read_metrics  # noqa: E402
from src.entry import run  # noqa: E402

EPOCHS, DRAWN_EPOCHS = 5, 14
# What gets a network off the ground in some hundred steps of eight images.
SETTINGS = ("--config_path", "config/ssd/ssd300_mobilenet_v2_small.yaml", "--opt_type", "adam", "--lr", "0.001",
            "--lr_init", "0.0001", "--weight_decay", "0.01", "--warmup_epochs", "1", "--ema_decay", "0.95")
# At this size the shapes have about as many pixels as blood cells at 300 x 300.
DRAWN_SETTINGS = ("--img_shape", "160,160", "--min_scale", "0.35", "--zoom_out", "1", "--color_jitter", "0,0,0")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voc_root", type=Path, required=True)
    parser.add_argument("--output_path", type=Path, required=True)
    parser.add_argument("--pre_trained", type=Path)
    own, flags = parser.parse_known_args()
    folder = own.output_path.resolve()
    pre_trained = own.pre_trained.resolve() if own.pre_trained else train_on_drawn_set(folder)
    cells = ["--dataset", "voc", "--voc_root", own.voc_root.resolve(), "--mindrecord_dir", folder / "voc_mindrecord",
             *flags]
    results = {"from scratch": train(folder / "scratch", EPOCHS, cells),
               "transferred": train(folder / "transferred", EPOCHS,
                                    [*cells, "--pre_trained", pre_trained, "--filter_weight", "True"])}
    print(json.dumps({name: {"AP": round(last["AP"], 4), "AP50": round(last["AP50"], 4), "steps": last["step"]}
                      for name, last in results.items()}))
    return 0


def train_on_drawn_set(folder: Path) -> Path:
    """The checkpoint of a run on circles, rectangles and triangles."""
    draw_shapes(folder / "shapes")
    train(folder / "drawn", DRAWN_EPOCHS, ["--coco_root", folder / "shapes", "--mindrecord_dir",
                                           folder / "drawn_mindrecord", *DRAWN_SETTINGS])
    return folder / "drawn" / "ckpt_0" / "best_map.ckpt"


def train(output_path: Path, epochs: int, flags: list) -> dict:
    """Train, evaluate on `val` after the last epoch; returns that evaluation's line of metrics.jsonl."""
    command = [sys.executable, ROOT / "train.py", *SETTINGS, "--output_path", output_path, "--epoch_size", epochs,
               "--run_eval", "True", "--eval_start_epoch", epochs, *flags]
    subprocess.run([str(word) for word in command], check=True, cwd=ROOT, stdout=sys.stderr)
    return [line for line in read_metrics(output_path / "metrics.jsonl") if "AP" in line][-1]


if __name__ == "__main__":
    sys.exit(run(main))
