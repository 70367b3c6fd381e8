"""Learning rate schedules: one value per step, as numpy arrays."""
from __future__ import annotations

from typing import Sequence

import numpy as np

WARM_UP = 0.05  # fraction of a run, for runs whose length is computed


def warmup_cosine(lr: float, lr_init: float, lr_end: float, warmup_steps: int, total_steps: int) -> np.ndarray:
    """Linear from lr_init to lr over warmup_steps, then half a cosine down to lr_end: (total_steps,) float32."""
    step = np.arange(total_steps, dtype=np.float64)
    warmup = lr_init + (lr - lr_init) * step / max(warmup_steps, 1)
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    cosine = lr_end + (lr - lr_end) * (1 + np.cos(np.pi * progress)) / 2
    return np.maximum(np.where(step < warmup_steps, warmup, cosine), 0).astype(np.float32)


def multi_step(lr: float, warmup_steps: int, decay_steps: Sequence[int], factor: float, total_steps: int) -> np.ndarray:
    """Linear from 0 to lr in warmup_steps, then divided by `factor` at each of decay_steps: (total_steps,) float32."""
    step = np.arange(total_steps)
    decays = np.searchsorted(np.sort(decay_steps), step, side="right")
    return np.where(step < warmup_steps, lr * step / max(warmup_steps, 1), lr / factor ** decays).astype(np.float32)


def polynomial(lr: float, lr_end: float, power: float, warmup_steps: int, total_steps: int) -> np.ndarray:
    """Linear from 0 to lr over warmup_steps, then lr_end + (lr - lr_end) * (1 - step / total_steps) ** power, where
    step counts the warm-up, too: (total_steps,) float32."""
    step = np.arange(total_steps)
    curve = lr_end + (lr - lr_end) * (1 - step / total_steps) ** power
    return np.where(step < warmup_steps, lr * step / max(warmup_steps, 1), curve).astype(np.float32)


def scaled_to_batch(lr: float, batch_size: int, base_batch_size: int | None) -> float:
    """The linear scaling rule (Goyal et al. 2017): lr is meant for base_batch_size images; None = not scaled."""
    return lr if base_batch_size is None else lr * batch_size / base_batch_size
