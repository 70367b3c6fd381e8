"""Event files for TensorBoard, written by the package tensorboardX."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from src.errors import UsageError


class EventWriter:
    """Losses, learning rate, AP and images of a run in `folder`; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise UsageError("--tensorboard True needs the package tensorboardX: pip install tensorboardX") from None
        self._writer = SummaryWriter(str(folder))

    def write(self, line: dict) -> None:
        """One line of metrics.jsonl: every number of it under its name, evaluations under `evaluation/`."""
        place = "evaluation/plain_" if line.get("plain") else "evaluation/" if "AP" in line else "training/"
        for name, value in line.items():
            if name not in ("step", "epoch", "plain") and value is not None:
                self._writer.add_scalar(place + name, value, line["step"])

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """An image of (height, width, 3) uint8 RGB."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
