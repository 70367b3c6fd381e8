"""Detects from Python: `load_detector("runs/voc").predict("street.jpg")`; predict.py runs the same code."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Union

import numpy as np

from src.command_line import load_config
from src.data.any_image import decode_any_image, read_any_image
from src.data.drawing import draw_boxes
from src.data.images import encode_jpeg
from src.errors import ImageError, UsageError
from src.evaluation.model_file import check_model_path, choose_device, open_predictor, read_model
from src.evaluation.predictions import json_rle
from src.evaluation.predictor import Predictor
from src.evaluation.thresholds import ScoreThreshold, score_threshold, stored_thresholds
from src.files import write_file
from src.ops.detections import Detections
from src.ops.masks import bitmap
from src.printable import counted
from src.settings.config import Config

ImageSource = Union[str, Path, bytes, np.ndarray]   # a file, the bytes of one, or (H, W, 3) uint8 RGB


@dataclass(frozen=True)
class Prediction:
    """The detections of one image, best first.

    boxes: (N, 4) float32, x1, y1, x2, y2 in pixels of the image. scores: (N,) float32 in 0..1.
    labels: (N,) int32, index into the detector's classes. names: (N,) class names.
    image_size: (height, width). runs: COCO run lengths of the masks, None for a model without masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]
    image_size: tuple[int, int]
    runs: Optional[list] = None

    @property
    def masks(self) -> Optional[np.ndarray]:
        """(N, H, W) bool, decoded on every access; None for a model without masks."""
        if self.runs is None:
            return None
        return np.array([bitmap(run, *self.image_size) for run in self.runs], bool).reshape(-1, *self.image_size)

    def above(self, score: float) -> Prediction:
        """A new Prediction with the detections of at least this score."""
        kept = np.flatnonzero(self.scores >= score)
        runs = None if self.runs is None else [self.runs[index] for index in kept]
        return Prediction(self.boxes[kept], self.scores[kept], self.labels[kept], [self.names[i] for i in kept],
                          self.image_size, runs)

    def rows(self) -> list[dict]:
        """The detections for a json file: class, score, box, and mask as COCO's run lengths where there are masks."""
        return [{"class": name, "score": round(float(score), 4), "box": [round(float(side), 2) for side in box],
                 **({"mask": json_rle(self.runs[index])} if self.runs is not None else {})}
                for index, (name, score, box) in enumerate(zip(self.names, self.scores, self.boxes))]

    def __len__(self) -> int:
        return len(self.scores)


class Found(NamedTuple):
    """A decoded image and all its detections."""

    number: int
    image: np.ndarray
    prediction: Prediction


class Detector:
    """A model that is ready to run.

    classes: its class names. threshold: the lowest score that `predict` returns, and the reason for it.
    """

    def __init__(self, predictor: Predictor, threshold: ScoreThreshold, max_pixels: Optional[int] = None,
                 workers: Optional[int] = None):
        self.predictor = predictor
        self.threshold = threshold
        self.classes: tuple[str, ...] = tuple(predictor.detector.classes)
        self.max_pixels = max_pixels
        self.workers = workers or os.cpu_count() or 1

    def predict(self, images: Union[ImageSource, Iterable[ImageSource]], batch_size: Optional[int] = None,
                threshold: Optional[float] = None) -> Any:
        """The Prediction of one image, or a list of Predictions for a list of images.

        images: a file name, the bytes of a file or an (H, W, 3) uint8 RGB array, or a list of these.
        batch_size: images per run of the network; None keeps the model's.
        threshold: least score; None takes the detector's, 0 returns everything.
        Raises ImageError for an unreadable image, UsageError for an argument that is not an image.
        """
        self.set_batch_size(batch_size)
        least = self.threshold.value if threshold is None else threshold
        if isinstance(images, (str, Path, bytes, np.ndarray)):
            return next(self.stream([images])).prediction.above(least)
        return [found.prediction.above(least) for found in self.stream(images)]

    def set_batch_size(self, batch_size: Optional[int]) -> None:
        """Change the images per run of the network; raises UsageError if an exported model has another number."""
        if batch_size is None or batch_size == self.predictor.batch_size:
            return
        if self.predictor.one_shape:
            raise UsageError(f"this model was exported for {counted(self.predictor.batch_size, 'image')} at a time, "
                             f"not for {batch_size}; export it with --export_batch_size {batch_size}")
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}; it has to be 1 or more")
        self.predictor.batch_size = batch_size

    def stream(self, images: Iterable[ImageSource],
               unreadable: Optional[Callable[[int, ImageError], None]] = None) -> Iterator[Found]:
        """Yield the images with all their detections, in order; only a few images are in memory at a time.

        unreadable: called with the number of an image that cannot be read, or for which the network gives NaN, and the
        error, which is raised without it.
        """
        decoded: dict[int, np.ndarray] = {}
        names: dict[int, str] = {}

        def read(item: tuple[int, ImageSource]) -> np.ndarray:
            number, source = item
            names[number] = str(source) if isinstance(source, (str, Path)) else f"image {number}"
            decoded[number] = self._read(source, names[number])
            return decoded[number]

        items = ((number, (number, source)) for number, source in enumerate(images))
        for number, detections in self.predictor.stream(items, read, self.workers, unreadable, names.__getitem__):
            image = decoded.pop(number)
            del names[number]
            yield Found(number, image, self._prediction(detections, image))

    def show(self, image: ImageSource, prediction: Optional[Prediction] = None,
             path: Union[str, Path, None] = None) -> np.ndarray:
        """The image (H, W, 3) uint8 RGB with its detections drawn on it; written to `path` as JPEG when that is given.

        prediction: what to draw; None predicts it."""
        pixels = self._read(image)
        shown = self.predict(pixels) if prediction is None else prediction
        drawn = draw_boxes(pixels, shown.boxes, shown.labels, self.classes, shown.scores, shown.runs)
        if path is not None:
            write_file(Path(path), encode_jpeg(drawn, 92))
        return drawn

    def _read(self, source: ImageSource, name: str = "image") -> np.ndarray:
        if isinstance(source, bytes):
            return decode_any_image(source, name, self.max_pixels)
        if isinstance(source, (str, Path)):
            return read_any_image(source, self.max_pixels)
        if not isinstance(source, np.ndarray) or source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 \
                or not source.size:
            kind = (f"an array of {source.dtype} {source.shape}" if isinstance(source, np.ndarray)
                    else type(source).__name__)
            raise UsageError("an image is a file name, the bytes of a file or an array (H, W, 3) of uint8 in the order "
                             f"RGB, not {kind}")
        return source

    def _prediction(self, detections: Detections, image: np.ndarray) -> Prediction:
        return Prediction(detections.boxes, detections.scores, detections.labels,
                          [self.classes[label] for label in detections.labels],
                          (image.shape[0], image.shape[1]), detections.masks)


def load_detector(model_path: Union[str, Path], **settings: Any) -> Detector:
    """The detector of a run folder, a .ckpt, or an exported .mindir, .onnx or .xml.

    settings: any setting by name, as on the command line: config_path, device_target, report_score_threshold, ...
    Raises UsageError, ConfigError or CheckpointError.
    """
    flags = [f"--{name}={value}" for name, value in settings.items()]
    config = load_config([f"--model_path={model_path}", *flags], "predict")
    return open_detector(config, check_model_path(config.eval.checkpoint_file_path))


def open_detector(config: Config, path: Path) -> Detector:
    """The detector of a model file with its settings."""
    choose_device(config, path)
    model = read_model(path)
    threshold = score_threshold(config.eval, stored_thresholds(path, model.description, config.eval.tile))
    predictor = open_predictor(config, model)
    predictor.agnostic_nms = threshold.agnostic_nms
    return Detector(predictor, threshold, config.data.max_image_pixels,
                    config.data.num_parallel_workers)
