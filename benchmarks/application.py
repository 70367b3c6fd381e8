"""Images per second of the C++ application, a plain Python loop on OpenVINO, and eval.py's predictor, from files to
the network's outputs (the predictor: to detections), on one ONNX file. Loading it is not counted, nor is the first
image of the loop and of the predictor.

    python benchmarks/application.py --model ssd.onnx --images coco/val2017
        [--main ascend310_infer/out/main] [--precision_mode f32]
"""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.command_line import load_config  # noqa: E402
from src.data.images import read_image  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import ProjectError  # noqa: E402
from src.evaluation.model_file import open_predictor, read_model  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--main", type=Path, default=Path("ascend310_infer/out/main"))
    parser.add_argument("--precision_mode", default="f32")
    given = parser.parse_args()
    images = sorted(given.images.glob("*.jpg"))
    predictor = open_predictor(load_config(["--model_path", str(given.model)], "eval"), read_model(given.model))
    rates = {"application": application(given.main, given.model, given.images, given.precision_mode),
             "python_openvino": plain_loop(given.model, predictor.detector, images, given.precision_mode),
             "eval": rate(predictor.stream([(path, path) for path in images], read_image, workers=2))}
    print(json.dumps({"images": len(images), "precision": given.precision_mode,
                      **{f"{name}_per_s": round(value, 1) for name, value in rates.items()}}))
    return 0


def application(program: Path, model: Path, images: Path, precision: str) -> float:
    with tempfile.TemporaryDirectory() as room:
        done = subprocess.run([program.resolve(), f"--mindir_path={model.resolve()}", f"--dataset_path={images}",
                               "--engine=openvino", f"--precision_mode={precision}", f"--result_path={room}"],
                              capture_output=True, text=True)
    if done.returncode:
        raise ProjectError(f"the application failed: {done.stderr}")
    return float(re.search(r"([\d.e+]+) per second", done.stdout)[1])


def plain_loop(model: Path, detector, images: list, precision: str) -> float:
    """One image after the other, as a first script of one's own would do it."""
    import openvino

    network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})

    def run(path):
        array, geometry = detector.preprocess(read_image(path))
        return network([row[None] for row in (array, *detector.further_inputs(geometry))])

    return rate(map(run, images))


def rate(results) -> float:
    """Results per second, from the first one on."""
    results = iter(results)
    next(results)
    started = time.perf_counter()
    count = sum(1 for _ in results)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(run(main))
