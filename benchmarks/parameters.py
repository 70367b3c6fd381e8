"""Number of parameters of every model with COCO's 80 classes: python benchmarks/parameters.py"""
from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.command_line import load_config  # noqa: E402
from src.conversion.coco_classes import COCO_CLASSES  # noqa: E402
from src.models import MODELS, build_detector  # noqa: E402

for name in MODELS:
    detector = build_detector(load_config(["--model_name", name], "eval"), COCO_CLASSES)
    size = sum(parameter.size for parameter in detector.network().trainable_params())
    print(f"{name}: {size / 1e6:.1f} million", flush=True)
