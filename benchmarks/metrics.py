"""Seconds of the COCO box metric for 5,000 images with 100 detections each, per library.

    python benchmarks/metrics.py [--images 5000]
"""
from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from src.entry import run  # noqa: E402
from src.evaluation.coco import evaluate_coco  # noqa: E402

CLASSES, OBJECTS, DETECTIONS = 80, 7, 100


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    ground_truth, rows = random_data(parser.parse_args().images, np.random.default_rng(0))
    for backend in ("faster_coco_eval", "pycocotools"):
        started = time.perf_counter()
        result = evaluate_coco(ground_truth, rows, backend=backend)
        seconds = round(time.perf_counter() - started, 1)
        print(json.dumps({"backend": backend, "detections": len(rows), "seconds": seconds,
                          "AP": result.summary["AP"]}))
    return 0


def random_data(images: int, rng) -> tuple:
    """Ground truth, and detections that are ground truth moved a little, or noise."""
    annotations, rows = [], []
    for image_id in range(1, images + 1):
        truths = np.concatenate([rng.random((OBJECTS, 2)) * 400, 20 + rng.random((OBJECTS, 2)) * 200], axis=1)
        labels = rng.integers(1, CLASSES + 1, OBJECTS)
        annotations += [{"id": len(annotations) + index, "image_id": image_id, "category_id": int(label), "iscrowd": 0,
                         "bbox": box.tolist(), "area": float(box[2] * box[3])}
                        for index, (box, label) in enumerate(zip(truths, labels), 1)]
        owner = rng.integers(0, OBJECTS, DETECTIONS)
        boxes = truths[owner] + rng.normal(0, 15, (DETECTIONS, 4))
        boxes[:, 2:] = np.maximum(boxes[:, 2:], 2)
        found = np.where(rng.random(DETECTIONS) < 0.5, labels[owner], rng.integers(1, CLASSES + 1, DETECTIONS))
        rows += [{"image_id": image_id, "category_id": int(label), "bbox": box.tolist(), "score": float(score)}
                 for box, label, score in zip(boxes, found, rng.random(DETECTIONS))]
    images = [{"id": image_id, "width": 640, "height": 640} for image_id in range(1, images + 1)]
    categories = [{"id": label, "name": f"class{label}"} for label in range(1, CLASSES + 1)]
    return {"images": images, "annotations": annotations, "categories": categories}, rows


if __name__ == "__main__":
    sys.exit(run(main))
