"""Time of the compile, of a training step, of an inference call, and peak memory, on random images.

    python benchmarks/speed.py --config_path config/ssd/ssd300_mobilenet_v2.yaml --batch_size 8
    python benchmarks/speed.py --config_path config/ssd/ssd300_mobilenet_v2.yaml --batch_size 8 --mode infer

Peak memory is of the whole process, so one process measures one mode. The median is of steps after the first two.
cpu_s, processor seconds per step of all threads, is what to look at on a machine that others use, too.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402

from benchmarks.measuring import Timing, peak_memory_mb, timed  # noqa: E402
from src.command_line import load_config  # noqa: E402
from src.entry import run  # noqa: E402
from src.model_utils.device_adapter import set_device, this_process  # noqa: E402
from src.models import build_detector  # noqa: E402
from src.ops import native  # noqa: E402

CLASSES = tuple(f"class{index}" for index in range(80))
OBJECTS = 8


def main() -> int:
    arguments, mode, repeats = split_own_flags(sys.argv[1:])
    config = load_config(arguments, "train")
    set_device(config.runtime)
    said = native.use(config.runtime)
    detector = build_detector(config, CLASSES)
    timing = (train_seconds if mode == "train" else inference_seconds)(config, detector, repeats)
    print(json.dumps({"model": config.model.model_name, "mode": mode, "native": said, "batch": config.train.batch_size,
                      "input": [3, *detector.input_size], **timing.fields(), "peak_memory_mb": peak_memory_mb()}))
    return 0


def split_own_flags(arguments: list) -> tuple:
    """(flags of the configuration, mode, number of repeats)."""
    own, rest = {"--mode": "train", "--repeats": "8"}, []
    iterator = iter(arguments)
    for argument in iterator:
        if argument in own:
            own[argument] = next(iterator)
        else:
            rest.append(argument)
    return rest, own["--mode"], int(own["--repeats"])


def train_seconds(config, detector, repeats: int) -> Timing:
    from src.engine.build import build_step

    rng = np.random.default_rng(0)
    transform = detector.train_transform()
    samples = [transform(*random_picture(rng, detector.input_size), rng) for _ in range(config.train.batch_size)]
    batch = [np.stack([sample[column] for sample in samples]) for column in detector.batch_columns]
    step = build_step(config, detector.loss(detector.network()), detector, np.full(10_000, 1e-4, np.float32),
                      this_process(config.runtime))
    return timed(lambda: step(*batch).losses[0].asnumpy(), repeats)


def inference_seconds(config, detector, repeats: int) -> Timing:
    """The whole call: network and what follows it, as eval.py does it; with scores that leave detections to decode."""
    from src.evaluation.predictor import network_runner

    images = np.random.default_rng(0).standard_normal((config.train.batch_size, 3, *detector.input_size))
    run_network = network_runner(detector.inference(detector.network()))
    geometry = detector.geometry(*detector.input_size)
    further = [np.stack([row] * len(images)) for row in detector.further_inputs(geometry)]

    def call():
        outputs = run_network(images.astype(np.float32), *further)
        return [detector.postprocess([output[index] for output in outputs], geometry)
                for index in range(len(images))]

    return timed(call, repeats)


def random_picture(rng, input_size: tuple) -> tuple:
    """An image of the input's size and a target of OBJECTS boxes, which are their own outlines."""
    height, width = input_size
    corners = rng.random((OBJECTS, 2)) * 0.6
    boxes = np.concatenate([corners, corners + 0.05 + rng.random((OBJECTS, 2)) * 0.35], axis=1)
    boxes *= [width, height, width, height]
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), {
        "boxes": boxes.astype(np.float32),
        "segments": [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes],
        "labels": rng.integers(0, len(CLASSES), OBJECTS).astype(np.int32), "crowd": np.zeros(OBJECTS, bool)}


if __name__ == "__main__":
    sys.exit(run(main))
