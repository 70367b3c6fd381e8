"""Writes event files for TensorBoard with the package tensorboardX."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from src.errors import UsageError


class EventWriter:
    """Writes losses, learning rate, AP and images of a run into `folder` for `tensorboard --logdir`."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise UsageError("--tensorboard True needs the package tensorboardX: pip install tensorboardX") from None
        self._writer = SummaryWriter(str(folder))

    def write(self, line: dict) -> None:
        """Write every number of a line of metrics.jsonl under its name, evaluations under `evaluation/`."""
        place = "evaluation/plain_" if line.get("plain") else "evaluation/" if "AP" in line else "training/"
        for name, value in line.items():
            if name not in ("step", "epoch", "plain") and value is not None:
                self._writer.add_scalar(place + name, value, line["step"])

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Write an image (height, width, 3) uint8 RGB."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
