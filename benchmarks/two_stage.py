"""Faster and Mask R-CNN with ResNet-50 against torchvision's, in turns on this machine.

    python benchmarks/two_stage.py --torch_python PYTHON [--model faster|mask] [--size 320x320] [--batch 2]
        [--mode train|infer]

PYTHON: an interpreter with torch and torchvision. Both have random weights, 8 objects per image, frozen norms and a
fixed first stage, two threads, SGD in training, and in inference 100 detections per image. Prints one JSON line per
measurement and the ratios of the medians.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.measuring import peak_memory_mb, timed  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python")
    parser.add_argument("--model", choices=["faster", "mask"], default="faster")
    parser.add_argument("--size", default="320x320")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torchvision", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torchvision:
        print(json.dumps(torchvision_seconds(options)))
        return 0
    if not options.torch_python:
        parser.error("--torch_python is needed")
    height, width = options.size.split("x")
    shared = ["--mode", options.mode, "--repeats", options.repeats]
    ours = [sys.executable, HERE / "speed.py", *shared, "--model_name", f"{options.model}_rcnn_resnet50",
            "--feature_extractor_base_param", "none", "--frozen_body", "True", "--img_height", height, "--img_width",
            width, "--batch_size", options.batch, "--test_score_thr", 0]
    theirs = [options.torch_python, HERE / "two_stage.py", *shared, "--torchvision", "--model", options.model, "--size",
              options.size, "--batch", options.batch]
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


def torchvision_seconds(options) -> dict:
    """The same measurement in the other environment."""
    import torch

    from benchmarks.torchvision_models import MODELS, inference, training

    torch.set_num_threads(2)
    height, width = map(int, options.size.split("x"))
    model = MODELS[f"{options.model}_rcnn_resnet50"](height, width).train(options.mode == "train")
    images = [torch.rand(3, height, width) for _ in range(options.batch)]
    call = (training if options.mode == "train" else inference)(model, images)
    return {"mode": options.mode, "batch": options.batch, "input": [3, height, width],
            **timed(call, options.repeats).fields(), "peak_memory_mb": peak_memory_mb()}


if __name__ == "__main__":
    sys.exit(main())
