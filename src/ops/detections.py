"""The result of every detector: the detections of one image, in pixels of the original image."""
from dataclasses import dataclass
from typing import Optional

import numpy as np


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first.

    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the original image, x2 = x1 + width.
    scores: (N,) float32, 0 to 1.
    labels: (N,) int32, 0-based index into the class names.
    masks: COCO run-length encodings of the full image, one per box, or None.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Optional[list] = None

    def __post_init__(self):
        count = len(self.scores)
        if self.boxes.shape != (count, 4) or self.labels.shape != (count,) or self.scores.shape != (count,):
            raise ValueError(f"boxes {self.boxes.shape}, scores {self.scores.shape} and labels {self.labels.shape} "
                             "do not describe the same number of detections")
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"{len(self.masks)} masks for {count} boxes")

    def __len__(self):
        return len(self.scores)
