"""The counted columns of docs/choosing_a_model.md, for COCO's 80 classes: python benchmarks/model_table.py

Parameters are the trained ones, without the moving statistics of batch normalisation. The input is the size in the
model's settings file, which is also the size that export.py uses.
"""
from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.command_line import load_config  # noqa: E402
from src.conversion.coco_classes import COCO_CLASSES  # noqa: E402
from src.models import MODELS, build_detector  # noqa: E402


def detector_of(name: str):
    """The detector with the settings file of this model, for COCO's classes."""
    return build_detector(load_config(["--model_name", name], "eval"), COCO_CLASSES)


def task(detector) -> str:
    return "boxes and masks" if detector.with_masks else "boxes"


def input_size(detector) -> str:
    return "{} x {}".format(*detector.input_size)


def parameters(detector) -> str:
    """The number of trained parameters in millions; builds the network, which takes seconds."""
    return f"{sum(parameter.size for parameter in detector.network().trainable_params()) / 1e6:.1f} M"


def main() -> None:
    print("| model | task | parameters | input, height x width |\n| --- | --- | --- | --- |")
    for name in MODELS:
        detector = detector_of(name)
        print(f"| `{name}` | {task(detector)} | {parameters(detector)} | {input_size(detector)} |", flush=True)


if __name__ == "__main__":
    main()
