"""What a training measures on its validation split: COCO's numbers, the loss, the score thresholds."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from src.data.coco_json import to_coco
from src.data.loader import prepare_sample
from src.data.records import AnnotationSet, Record
from src.evaluation.evaluate import measure, predict_dataset, summary_of
from src.evaluation.matching import group_by_image
from src.evaluation.model_file import make_predictor
from src.evaluation.predictions import read_predictions
from src.evaluation.predictor import network_runner
from src.evaluation.thresholds import measure_thresholds, store_thresholds
from src.files import read_file
from src.model_utils.device_adapter import Process
from src.ops.normalize import NormalizeImages

LOSS_IMAGES = 100   # at most, evenly spaced ones: the loss should cost less than the evaluation beside it


class Validation:
    """Measures the network on the validation set.

    detector: the family's detector. network: its Cell. loss: the Cell that is trained. process: place among the ranks.
    annotations: with objects on rank 0, which measures; the other ranks only predict.
    """

    def __init__(self, config: Any, detector: Any, network: nn.Cell, loss: nn.Cell, annotations: AnnotationSet,
                 folder: Path, process: Process):
        self.predictor = make_predictor(config.eval, detector, network_runner(detector.inference(network)),
                                        config.eval.eval_batch_size)
        self.tile = config.eval.tile
        self.annotations, self.process = annotations, process
        self.ground_truth, self.predictions = to_coco(annotations), folder / "validation_predictions.json"
        self.backend, self.with_masks = config.eval.metric_backend, detector.with_masks
        self.loss = ValidationLoss(config, detector, loss, annotations.records) if process.rank == 0 else None

    def __call__(self) -> dict[str, float]:
        """The summary of an evaluation by name, with the loss. Collective: all ranks must call it."""
        predict_dataset(self.predictor, self.annotations, self.predictions, process=self.process, progress=False)
        summary: dict[str, float] = {}
        if self.loss is not None:
            measured = measure(self.ground_truth, read_predictions(self.predictions), self.backend, self.with_masks)
            summary = {**summary_of(measured), **self.loss()}
        told = self.process.share("\n".join(f"{name} {float(value)!r}" for name, value in summary.items()))
        return {name: float(value) for name, value in (line.split() for line in told.splitlines())}

    def store_thresholds(self, checkpoint: Path) -> None:
        """Write the score thresholds of the last evaluation beside the evaluated checkpoint."""
        images = group_by_image(self.ground_truth, read_predictions(self.predictions))
        store_thresholds(checkpoint, measure_thresholds(images, "val"), self.tile)


class ValidationLoss:
    """The mean loss over full batches of the validation images, prepared as for training but without augmentation."""

    def __init__(self, config: Any, detector: Any, loss: nn.Cell, records: tuple[Record, ...]):
        self.columns, self.with_masks = detector.batch_columns, detector.with_masks
        self.prepare = partial(prepare_sample, detector.train_transform(augment=False), config.train.seed, 0)
        self.batches = batches_of(records[::max(1, -(-len(records) // LOSS_IMAGES))], config.train.batch_size)
        self.workers = config.data.num_parallel_workers or os.cpu_count() or 1
        self.loss, normalize = loss, NormalizeImages(detector.mean, detector.std)

        @ms.jit
        def losses(images, *targets):  # type: ignore[no-untyped-def]  # the graph compiler reads this source
            return loss(normalize(images), *targets)

        self.losses = losses

    def __call__(self) -> dict[str, float]:
        """{"val_loss": mean, ...}, and "val_" + name for each further part of the loss."""
        sums = np.zeros(len(self.loss.parts))
        self.loss.set_train(False)  # the training sets it back before each step
        with ThreadPoolExecutor(self.workers) as pool:
            for batch in self.batches:
                samples = list(pool.map(self._sample, batch))
                arrays = [Tensor(np.stack([sample[name] for sample in samples])) for name in self.columns]
                sums += [float(part.asnumpy()) for part in self.losses(*arrays)]
        names = ("val_loss", *(f"val_{name}" for name in self.loss.parts[1:]))
        return dict(zip(names, (sums / len(self.batches)).tolist()))

    def _sample(self, record: Record) -> dict[str, np.ndarray]:
        names = ("image_id", "height", "width", "orientation", "boxes", "labels", "crowd", "difficult", "areas")
        row = {name: getattr(record, name) for name in names}
        if self.with_masks:
            row["segments"] = record.segments or []
        return self.prepare({**row, "file": str(record.image_path), "image": read_file(record.image_path)})


def batches_of(records: tuple[Record, ...], size: int) -> list[list[Record]]:
    """Full batches, as the compiled loss needs; fewer images than one batch fill it by being repeated."""
    if len(records) < size:
        return [[records[index % len(records)] for index in range(size)]]
    return [list(records[start:start + size]) for start in range(0, len(records) - size + 1, size)]
