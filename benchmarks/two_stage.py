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
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OBJECTS, WARM_UP = 8, 2


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
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    torch.set_num_threads(2)
    height, width = map(int, options.size.split("x"))
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    model = {"faster": FasterRCNN, "mask": MaskRCNN}[options.model](
        backbone, 81, min_size=min(height, width), max_size=max(height, width))
    images = [torch.rand(3, height, width) for _ in range(options.batch)]
    model.train(options.mode == "train")
    call = training(model, images) if options.mode == "train" else inference(model, images)
    samples = []
    for _ in range(WARM_UP + options.repeats):
        started, cpu_started = time.perf_counter(), time.process_time()
        call()
        samples.append((time.perf_counter() - started, time.process_time() - cpu_started))
    seconds, cpu_seconds = zip(*samples[WARM_UP:])
    return {"mode": options.mode, "batch": options.batch, "input": [3, height, width],
            "first_s": round(samples[0][0], 2), "median_s": round(statistics.median(seconds), 4),
            "cpu_s": round(statistics.median(cpu_seconds), 4),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def training(model, images: list):
    """One step, to be called."""
    import torch

    height, width = images[0].shape[1:]
    corners = torch.rand(len(images), OBJECTS, 2) * 0.6
    boxes = torch.cat([corners, corners + 0.05 + torch.rand(len(images), OBJECTS, 2) * 0.35], 2)
    targets = []
    for image in boxes * torch.tensor([width, height, width, height]):
        masks = torch.zeros(OBJECTS, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, image.int().tolist()):
            mask[y1:y2, x1:x2] = 1
        targets.append({"boxes": image, "labels": torch.randint(1, 81, (OBJECTS,)), "masks": masks})
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 1e-4, momentum=0.91)

    def step():
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()

    return step


def inference(model, images: list):
    """One call, with class logits spread out so that a thousand boxes are above the score threshold, as after
    training; untrained ones leave nothing to suppress, and no masks to compute."""
    import torch

    def call():
        with torch.inference_mode():
            return model(images)

    classifier, logits = model.roi_heads.box_predictor.cls_score, []
    hook = classifier.register_forward_hook(lambda _layer, _inputs, output: logits.append(output))
    call()
    hook.remove()
    with torch.no_grad():
        factors = 2 / logits[0].std(0)
        classifier.weight.mul_(factors[:, None])
        classifier.bias.sub_(logits[0].mean(0)).mul_(factors)
    return call


if __name__ == "__main__":
    sys.exit(main())
