"""Images per second of every engine that runs one of our models on a CPU, and of the same detector in PyTorch.

    python benchmarks/engines.py --torch_python PYTHON [--model ssd300|faster_rcnn_resnet50] [--size 320] [--rounds 2]

PYTHON: an interpreter with torch and torchvision; without it only ours are measured. All have random weights,
and turn one image in memory at a time into detections. Every engine is a process of its own; they
take turns. bf16 is left out where the processor does not have it. Prints one line of JSON for each measurement, and a
table of the medians over the rounds. cpu_ms, processor time of all threads, is what to look at on a machine that others
use, too.
"""
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from benchmarks.in_turns import machine  # noqa: E402
from benchmarks.measuring import timed  # noqa: E402

WARM_UP = 3
CLASSES = tuple(f"class{index}" for index in range(80))
# Our row of the table -> ending of the model file, flags of eval.py.
OURS = {"MindSpore": ("ckpt", ()), "MindSpore, .mindir": ("mindir", ()), "onnxruntime": ("onnx", ()),
        "OpenVINO f32": ("onnx", ("--engine", "openvino")),
        "OpenVINO bf16": ("onnx", ("--engine", "openvino", "--precision_mode", "bf16"))}
THEIRS = ("PyTorch f32", "PyTorch f32, channels last", "PyTorch bf16 autocast, channels last")
# What makes the networks of both sides alike. Random scores of an SSD are 1/81, far below the threshold of both. The
# scores of a two-stage detector are spread out, so that there is something to suppress, and an order to export.
SCORES, FACTOR = ("rpn.objectness.weight", "box_head.logits.weight"), 100
FLAGS = {"ssd300": ("--min_score", "0.2"),
         "faster_rcnn_resnet50": ("--feature_extractor_base_param", "none", "--test_score_thr", "0")}
SIZE_FLAGS = {"ssd300": ("--img_shape={0},{0}",), "faster_rcnn_resnet50": ("--img_height={0}", "--img_width={0}")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch_python")
    parser.add_argument("--model", choices=list(FLAGS), default="ssd300")
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)), help="that each process may use")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:options.cores])    # of which all take their threads
        print(json.dumps(measured(options)))
        return 0
    flags = [*FLAGS[options.model], *(flag.format(options.size) for flag in SIZE_FLAGS[options.model])]
    measurements: dict = {}
    with tempfile.TemporaryDirectory() as room:
        files = exported(Path(room), options.model, flags)
        for _ in range(options.rounds):
            for name in (*OURS, *(THEIRS if options.torch_python else ())):
                python = options.torch_python if name in THEIRS else sys.executable
                file = ["--file", files[OURS[name][0]]] if name in OURS else []
                found = run_alone(python, "--measure", name, "--model", options.model, "--size", options.size,
                                  "--repeats", options.repeats, "--cores", options.cores, *file)
                print(json.dumps({"engine": name, **found}), flush=True)
                if "per_s" in found:
                    measurements.setdefault(name, []).append(found)
    print(f"{options.model} {options.size} x {options.size}, {machine()['processor']}, {options.cores} of its cores: "
          "images per second, processor ms per image")
    for name, found in measurements.items():
        print(f"| {name} | {statistics.median(one['per_s'] for one in found):.1f} "
              f"| {statistics.median(one['cpu_ms'] for one in found):.0f} |")
    return 0


def run_alone(python: str, *words: object) -> dict:
    """What this program prints for one measurement, in a process of its own."""
    done = subprocess.run([python, str(HERE / "engines.py"), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def exported(room: Path, model: str, flags: list) -> dict:
    """{ending: file} of one network with random weights."""
    import mindspore

    from src.checkpoint import save_weights
    from src.command_line import load_config
    from src.models import build_detector

    mindspore.set_seed(0)
    detector = build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)
    files, parameters = {"ckpt": room / "random.ckpt"}, detector.network().parameters_dict()
    for name, parameter in parameters.items():
        if name.endswith(SCORES):
            parameter.set_data(FACTOR * parameter)
    save_weights(files["ckpt"], parameters, model, CLASSES, detector.conditions())
    for ending in ("mindir", "onnx"):
        subprocess.run([sys.executable, str(ROOT / "export.py"), "--model_name", model, "--model_path",
                        str(files["ckpt"]), "--file_format", ending.upper(), "--file_name", str(room / "random"),
                        *flags], check=True, stdout=sys.stderr, cwd=room)
        files[ending] = room / f"random.{ending}"
    return files


def measured(options) -> dict:
    """Images per second of one engine, or why it was left out."""
    import numpy as np

    image = np.random.default_rng(0).integers(0, 256, (options.size, options.size, 3), dtype=np.uint8)
    call = ours(options, image) if options.measure in OURS else theirs(options, image)
    if isinstance(call, str):
        return {"left_out": call}
    timing = timed(call, options.repeats, WARM_UP)
    return {"per_s": round(1 / timing.median_s, 2), "cpu_ms": round(1000 * timing.cpu_s, 1)}


def ours(options, image):
    """image (H, W, 3) uint8 -> a call that gives its detections, or the reason why there is none."""
    from src.command_line import load_config
    from src.errors import UsageError
    from src.evaluation.model_file import choose_device, open_predictor, read_model

    _, flags = OURS[options.measure]
    config = load_config(["--model_path", str(options.file), f"--runtime_num_threads={options.cores}", *flags], "eval")
    choose_device(config, options.file)
    try:
        predictor = open_predictor(config, read_model(options.file))
    except UsageError as error:
        return str(error)
    return lambda: predictor([image])


def theirs(options, image):
    """The same for the detector of torchvision."""
    import contextlib

    import torch

    from benchmarks.torchvision_models import MODELS, inference

    torch.set_num_threads(options.cores)
    half, last = "bf16" in options.measure, "channels last" in options.measure
    if half and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this processor does not compute in bf16"
    model = MODELS[options.model](options.size, options.size).eval()
    if last:
        model.to(memory_format=torch.channels_last)
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    precision = torch.autocast("cpu", dtype=torch.bfloat16) if half else contextlib.nullcontext()
    if options.model == "ssd300":
        model.score_thresh = 0.2    # as ours, see FLAGS
    call = inference(model, [tensor])

    def detect():
        with torch.inference_mode(), precision:
            return call()

    return detect


if __name__ == "__main__":
    sys.exit(main())
