"""AP of trainings from scratch on data sets of different kinds, with the settings that --auto True computes.

    python benchmarks/accuracy.py --output_path FOLDER [--sets shapes large] [--families ssd] [--seeds 1 2]
        [--epochs 20] [--voc_root BCCD] [--quick] [any setting of train.py]

The drawn sets are made where they are missing; `bccd` needs --voc_root. Each training ends as one line of
FOLDER/results.jsonl, and is not done again. A training that was interrupted goes on from its last checkpoint. At the
end the table of all lines is printed: mean AP and AP50 of the seeds, and the largest distance from the mean.
--epochs gives all trainings the same length instead of the computed one; --quick is two sets and two families.
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.data.shapes import KINDS, draw_shapes  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import UsageError  # noqa: E402
from src.files import parse_json, read_file, write_file  # noqa: E402

# Looked at while settings are tuned, and only afterwards.
TUNED, KEPT_BACK = ("bccd", "shapes", "tiny", "crowded"), ("large", "elongated", "unbalanced", "noisy")
TRAIN_IMAGES, VAL_IMAGES = {"large": 160}, 100
FAMILIES = {
    "ssd": ["--config_path", "config/ssd/ssd300_mobilenet_v2_small.yaml"],
    "ssd_fpn": ["--model_name", "ssd_mobilenet_v1_fpn", "--img_shape", "320,320", "--num_addition_layers", "1",
                "--batch_size", "4", "--background_loss", "false", "--initial_score", "0.01", "--opt_type", "adam",
                "--lr", "0.001", "--lr_init", "0.0001", "--weight_decay", "0.01", "--ema_decay", "0.98",
                "--crop_tries", "0", "--color_jitter", "0,0,0", "--min_score", "0.05", "--nms_threshold", "0.5"],
    "faster_rcnn": ["--model_name", "faster_rcnn_resnet50", "--img_width", "192", "--img_height", "192",
                    "--batch_size", "4"],
    "mask_rcnn": ["--model_name", "mask_rcnn_resnet50", "--img_width", "192", "--img_height", "192", "--batch_size",
                  "4"],
    "centernet": ["--model_name", "centernet_resnet50", "--input_res_train", "128,128", "--input_res_test", "128,128",
                  "--keep_res", "false", "--batch_size", "8"],
}
QUICK = {"sets": ["shapes", "large"], "families": ["ssd", "faster_rcnn"], "seeds": [1], "epochs": 5}


class Case(NamedTuple):
    """One training."""

    family: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        return "-".join(map(str, self))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_path", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=TUNED + KEPT_BACK, default=list(TUNED + KEPT_BACK))
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=["ssd"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--voc_root", type=Path)
    parser.add_argument("--quick", action="store_true")
    own, flags = parser.parse_known_args()
    for name, value in QUICK.items() if own.quick else ():
        setattr(own, name, value)
    folder = own.output_path.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for case in (Case(*three) for three in product(own.families, own.sets, own.seeds)):
        results = folder / "results.jsonl"
        if case not in {case_of(line) for line in lines_of(results)}:
            line = measured(case, folder, data_of(case.data, folder, own.voc_root), own.epochs, flags)
            write_file(results, "".join(json.dumps(each) + "\n" for each in (*lines_of(results), line)))
    print(table(lines_of(folder / "results.jsonl")))
    return 0


def data_of(name: str, folder: Path, voc_root: Optional[Path]) -> list:
    """The flags of a data set, which is drawn where it is missing. Raises UsageError for BCCD without a folder."""
    if name == "bccd":
        if voc_root is None:
            raise UsageError("the set bccd needs --voc_root, the folder with its Annotations and JPEGImages")
        return ["--dataset", "voc", "--voc_root", voc_root.resolve()]
    assert name in KINDS
    draw_shapes(folder / "sets" / name, train=TRAIN_IMAGES.get(name, 400), val=VAL_IMAGES, kind=name)
    return ["--dataset", "coco", "--coco_root", folder / "sets" / name]


def measured(case: Case, folder: Path, data: list, epochs: Optional[int], flags: list) -> dict:
    """Train and evaluate; returns the line of the results."""
    room, started = folder / case.name, time.monotonic()
    settings = [*FAMILIES[case.family], "--device_target", "CPU", "--auto", "True", "--seed", case.seed,
                "--feature_extractor_base_param", "none", "--run_eval", "False",
                *(["--epoch_size", epochs] if epochs else []), *flags]
    call("train.py", *settings, *data, "--output_path", room, "--mindrecord_dir", folder / "mindrecord" / case.name,
         "--resume")
    seconds = time.monotonic() - started    # of the last part, where a training was interrupted
    split = "test" if case.data == "bccd" else "val"
    results = room / f"measured-{time.strftime('%Y%m%d-%H%M%S')}"
    printed = call("eval.py", "--model_path", room, *data, "--eval_split", split, "--result_path", results)
    ap, ap50 = (float(value) for value in re.findall(r"AP.*area= +all .*= (-?[0-9.]+)", printed)[:2])
    return {**case._asdict(), "steps": steps_of(room), "seconds": round(seconds), "AP": ap, "AP50": ap50}


def steps_of(run_folder: Path) -> int:
    """Steps of a run, from its log."""
    lines = read_file(run_folder / "metrics.jsonl").decode().splitlines()
    return max(parse_json(line).get("step", 0) for line in lines)


def call(program: str, *flags) -> str:
    """Run a program; returns what it printed, which is shown as well."""
    done = subprocess.run([sys.executable, str(ROOT / program), *map(str, flags)], check=True, cwd=ROOT, text=True,
                          stdout=subprocess.PIPE)
    print(done.stdout, file=sys.stderr)
    return done.stdout


def lines_of(path: Path) -> list[dict]:
    """The results so far; a last line that was cut off is left out."""
    found = []
    for text in read_file(path).decode().splitlines() if path.exists() else []:
        try:
            found.append(parse_json(text))
        except ValueError:
            continue
    return found


def case_of(line: dict) -> Case:
    return Case(line["family"], line["data"], line["seed"])


def table(lines: list[dict]) -> str:
    """The results in Markdown: a row for each family and set."""
    rows = ["| family | set | looked at while tuning | seeds | steps | seconds | AP | AP50 |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for family, data in dict.fromkeys((line["family"], line["data"]) for line in lines):
        of_seeds = [line for line in lines if (line["family"], line["data"]) == (family, data)]
        cells = [family, data, "yes" if data in TUNED else "no", str(len(of_seeds)),
                 *(f"{np.mean([line[key] for line in of_seeds]):.0f}" for key in ("steps", "seconds")),
                 *(spread([line[key] for line in of_seeds]) for key in ("AP", "AP50"))]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def spread(values: list[float]) -> str:
    """The mean, and the largest distance from it where there are several values."""
    mean = float(np.mean(values))
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ± {max(abs(value - mean) for value in values):.3f}"


if __name__ == "__main__":
    sys.exit(run(main))
