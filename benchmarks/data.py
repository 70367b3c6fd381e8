"""Images per second of the MindRecord conversion and of the training loader alone, on 640x480 JPEG images.

    python benchmarks/data.py [--images 500]
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.command_line import load_config  # noqa: E402
from src.data.audit import audit  # noqa: E402
from src.data.coco_json import load_coco  # noqa: E402
from src.data.identity import DataRequest  # noqa: E402
from src.data.loader import TrainLoader  # noqa: E402
from src.data.mindrecord import Place, prepare_mindrecord  # noqa: E402
from src.data.shapes import draw_shapes  # noqa: E402
from src.entry import run  # noqa: E402
from src.models import build_detector  # noqa: E402

BATCH = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as room:
        print(json.dumps(measure(Path(room), images)))
    return 0


def measure(room: Path, images: int) -> dict:
    draw_shapes(room / "shapes", train=images, val=1, size=(640, 480))
    annotations = load_coco(room / "shapes/annotations/instances_train2017.json", room / "shapes/train2017")
    started = time.perf_counter()
    audited = audit(annotations, progress=False)[0]
    audit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    request = DataRequest("shapes", annotations.root, {"with_masks": False}, "")
    files = prepare_mindrecord(request, Place(room / "mindrecord", "ssd.mindrecord"), load=lambda: annotations,
                               audit=lambda _: audited)
    write_seconds = time.perf_counter() - started
    config = load_config(["--model_name", "ssd300"], "train")
    loader = TrainLoader(files, build_detector(config, files.classes).train_transform(), BATCH, seed=1, workers=2)
    count = sum(len(batch["image_id"]) for batch in loader.epoch(0))  # the first epoch fills the file cache
    started = time.perf_counter()
    for _ in loader.epoch(1):
        pass
    loader_seconds = time.perf_counter() - started
    loader.close()
    return {"images": images, "audit_images_per_s": round(images / audit_seconds),
            "mindrecord_images_per_s": round(images / write_seconds),
            "loader_images_per_s": round(count / loader_seconds)}


if __name__ == "__main__":
    sys.exit(run(main))
