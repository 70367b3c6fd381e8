"""Faster R-CNN with ResNet-50 against torchvision's, in turns on this machine.

    python benchmarks/faster_rcnn.py --torch_python PYTHON [--size 320x320] [--batch 2] [--mode train|infer]

PYTHON: an interpreter with torch and torchvision. Both have random weights, 8 objects per picture, frozen norms and a
fixed first stage, two threads, and SGD in training. Prints one JSON line per measurement and the ratio of the medians.
"""
from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OBJECTS, WARM_UP, REPEATS = 8, 2, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python")
    parser.add_argument("--size", default="320x320")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--torchvision", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    if options.torchvision:
        print(json.dumps(torchvision_seconds(height, width, options.batch, options.mode)))
        return 0
    if not options.torch_python:
        parser.error("--torch_python is needed")
    ours = [sys.executable, HERE / "speed.py", "--model_name", "faster_rcnn_resnet50", "--feature_extractor_base_param",
            "none", "--frozen_body", "True", "--img_height", height, "--img_width", width, "--batch_size",
            options.batch, "--mode", options.mode, "--repeats", REPEATS]
    theirs = [options.torch_python, HERE / "faster_rcnn.py", "--torchvision", "--size", options.size, "--batch",
              options.batch, "--mode", options.mode]
    results = {"mindspore": [], "torchvision": []}
    for _ in range(options.rounds):
        for name, command in (("mindspore", ours), ("torchvision", theirs)):
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                                  env={**os.environ, "OMP_NUM_THREADS": "2"})
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            results[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(name, json.dumps(results[name][-1]), flush=True)
    for key in ("median_s", "cpu_s", "peak_memory_mb"):
        ratio = (statistics.median(result[key] for result in results["mindspore"])
                 / statistics.median(result[key] for result in results["torchvision"]))
        print(f"{key}: {ratio:.2f} times torchvision's")
    return 0


def torchvision_seconds(height: int, width: int, batch: int, mode: str) -> dict:
    """The same measurement in the other environment."""
    import torch
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.set_num_threads(2)
    body = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    model = FasterRCNN(body, 81, min_size=min(height, width), max_size=max(height, width))
    images = [torch.rand(3, height, width) for _ in range(batch)]
    sides = torch.tensor([width, height, width, height])
    corners = torch.rand(batch, OBJECTS, 2) * 0.6
    boxes = torch.cat([corners, corners + 0.05 + torch.rand(batch, OBJECTS, 2) * 0.35], 2) * sides
    targets = [{"boxes": picture, "labels": torch.randint(1, 81, (OBJECTS,))} for picture in boxes]
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 1e-4, momentum=0.91)

    def train():
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()

    def infer():
        with torch.inference_mode():
            model(images)

    model.train(mode == "train")
    samples = []
    for _ in range(WARM_UP + REPEATS):
        started, cpu_started = time.perf_counter(), time.process_time()
        (train if mode == "train" else infer)()
        samples.append((time.perf_counter() - started, time.process_time() - cpu_started))
    seconds, cpu_seconds = zip(*samples[WARM_UP:])
    return {"mode": mode, "batch": batch, "input": [3, height, width], "first_s": round(samples[0][0], 2),
            "median_s": round(statistics.median(seconds), 4), "cpu_s": round(statistics.median(cpu_seconds), 4),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


if __name__ == "__main__":
    sys.exit(main())
