"""Loads training batches from MindRecord, in an order that depends only on seed and epoch.

The global batch of a step does not depend on the number of ranks. The random numbers of an image are keyed by
(seed, epoch, image id). Therefore neither the workers, the ranks nor the step of a resume change what the network sees.
"""
from __future__ import annotations

import multiprocessing as processes
import signal
from collections import Counter, deque
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, Callable, Generator, Iterator

import cv2
import numpy as np

from src.data.balance import draw_balanced, image_weights
from src.data.images import decode_image
from src.data.mindrecord_description import RecordFiles, ReplacedFiles
from src.data.mindrecord_rows import read_rows
from src.errors import DatasetError, ImageError

BATCHES_AHEAD = 3

# image (H, W, 3) uint8 RGB, target, generator -> arrays of fixed shapes
Transform = Callable[[np.ndarray, dict[str, Any], np.random.Generator], dict[str, Any]]


class TrainLoader:
    """Batches of one rank, prepared ahead by threads (or processes) while the network trains.

    files: RecordFiles. transform(image (H, W, 3) uint8 RGB, target dict, rng) -> dict of arrays of fixed shapes;
    target holds image_id, file, height, width, boxes (N, 4) xyxy, labels, crowd, difficult, areas (N,), and segments
    if they were stored. With processes it must be picklable.
    balance: 0 = every image once per epoch, see `image_weights`.
    batch_size: images of this rank per step. workers: number of threads, or of processes with `multiprocessing`;
    threads are faster for transforms that spend their time in cv2 and numpy.
    """

    def __init__(self, files: RecordFiles, transform: Transform, batch_size: int, seed: int, rank: int = 0,
                 rank_size: int = 1, workers: int = 4, multiprocessing: bool = False, balance: float = 0.0):
        self.files = files
        self.transform = transform
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.rank_size = rank_size
        # Files of earlier versions do not name the ids of their rows.
        image_ids = files.image_ids or [row["image_id"] for row in
                                        read_rows(files, range(files.image_count), ["image_id"])]
        self._rows_by_image_id = np.argsort(image_ids)
        self._weights = None
        if balance:
            rows = read_rows(files, self._rows_by_image_id, ["labels", "crowd", "count"])
            self._weights = image_weights([row["labels"][~row["crowd"]] for row in rows], balance)
        self._pool: Executor
        if multiprocessing:
            self._pool = ProcessPoolExecutor(workers, processes.get_context("spawn"), initializer=_start_process)
        else:
            self._pool = ThreadPoolExecutor(workers)

    @property
    def steps_per_epoch(self) -> int:
        """Number of full global batches, at least one; left-over images are used in other epochs."""
        return max(1, self.files.image_count // (self.batch_size * self.rank_size))

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[dict[str, np.ndarray]]:
        """Yield the batches of an epoch from step `start_step` on: dicts of stacked arrays, and "image_id" (B,) int64.

        Raises DatasetError or ImageError that names image id and file if an image cannot be prepared.
        """
        rows = self._rows(epoch, start_step)
        prepare = partial(prepare_sample, self.transform, self.seed, epoch)
        pending: deque[Future] = deque()
        try:
            for row, repeat in zip(rows, self._repeats(epoch)[start_step:].ravel().tolist()):
                pending.append(self._pool.submit(prepare, row, repeat))
                if len(pending) == BATCHES_AHEAD * self.batch_size:
                    yield self._next_batch(pending)
            while pending:
                yield self._next_batch(pending)
        except BrokenExecutor as error:
            raise DatasetError("a process that prepares images died, most likely because memory ran out. Lower "
                               "num_parallel_workers or set python_multiprocessing to False.") from error
        finally:
            rows.close()
            for future in pending:
                future.cancel()

    def _rows(self, epoch: int, start_step: int) -> Generator[dict[str, Any], None, None]:
        try:
            yield from read_rows(self.files, self._order(epoch)[start_step:].ravel())
        except ReplacedFiles as error:
            step = epoch * self.steps_per_epoch + start_step
            raise DatasetError(f"{error}. Up to step {step} this run was trained on the right data") from None

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(cancel_futures=True)

    def _order(self, epoch: int) -> np.ndarray:
        """(steps, batch_size) rows of this rank: its slice of every global batch of the epoch."""
        return self._rows_by_image_id[self._batches(epoch)[:, self.rank]]

    def _repeats(self, epoch: int) -> np.ndarray:
        """(steps, batch_size): how often balancing drew the image of each place before in this epoch."""
        batches = self._batches(epoch)
        if self._weights is None:
            return np.zeros_like(batches[:, self.rank])
        drawn: Counter[int] = Counter()
        repeats = []
        for image in batches.ravel().tolist():
            repeats.append(drawn[image])
            drawn[image] += 1
        return np.reshape(repeats, batches.shape)[:, self.rank]

    def _batches(self, epoch: int) -> np.ndarray:
        """(steps, ranks, batch_size) images of the global batches, numbered in the order of their ids.

        If there are fewer images than one global batch, images are repeated to fill it.
        """
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(self.files.image_count)
        if self._weights is not None:
            shuffled = draw_balanced(shuffled, self._weights, rng)
        return np.resize(shuffled, (self.steps_per_epoch, self.rank_size, self.batch_size))

    def _next_batch(self, pending: deque[Future]) -> dict[str, np.ndarray]:
        samples = [pending.popleft().result() for _ in range(self.batch_size)]
        try:
            return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
        except (KeyError, ValueError) as error:
            raise DatasetError(f"images {[int(sample['image_id']) for sample in samples]}: the transform's results "
                               f"do not have the same names and shapes, {error}") from error


def prepare_sample(transform: Transform, seed: int, epoch: int, row: dict[str, Any],
                   repeat: int = 0) -> dict[str, np.ndarray]:
    """Decode and transform one row of `read_rows`. Returns the arrays of the transform and "image_id" (int64).

    repeat: how often the image was drawn before in this epoch, so that it is augmented in another way.
    """
    target = dict(row)
    name = f"image {row['image_id']} ({row['file']})"
    rng = np.random.default_rng([seed, epoch, row["image_id"], *([repeat] if repeat else [])])
    try:
        height, width = row["height"], row["width"]
        # The audit accepted this size; a larger image is not the one that was audited.
        image = decode_image(target.pop("image"), name, row["orientation"], max_pixels=height * width or None)
        return {**transform(image, target, rng), "image_id": np.int64(row["image_id"])}
    except ImageError:
        raise
    except Exception as error:  # a transform may raise anything; the message must name the image
        raise DatasetError(f"{name}: cannot be prepared for training, {type(error).__name__}: {error}") from error


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process handles Ctrl-C
    cv2.setNumThreads(1)
