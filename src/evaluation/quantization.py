"""Static quantisation of an exported ONNX file to 8-bit integers, and what it costs in AP."""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from src.data.annotations import load_split
from src.data.coco_json import to_coco
from src.data.images import read_image
from src.data.records import AnnotationSet, Record
from src.errors import DatasetError, ExportError
from src.evaluation.evaluate import audit_ground_truth, measure, predict_dataset, summary_of
from src.evaluation.model_file import make_predictor
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictions import read_predictions
from src.evaluation.predictor import onnx_runner
from src.settings.config import Config

OPSET = 13      # the first in which a weight can have a scale for each channel
MEASURED = ("AP", "mask_AP")


class Loss(NamedTuple):
    """AP of boxes, and of masks where there are any, before and after quantisation; images: those of the calibration.
    """

    before: dict[str, float]
    after: dict[str, float]
    images: int

    @property
    def largest(self) -> float:
        return max(value - self.after[name] for name, value in self.before.items())


def quantize_export(config: Config, detector: Any, model: Path, target: Path, folder: Path) -> Loss:
    """Write `model`, an exported ONNX file, to `target` with convolutions of 8 bits, and measure both.

    int8_images images of the training split give the ranges of the maps. AP is measured on the split eval_split, whose
    audit is written to `folder`. Raises ExportError if AP falls by more than int8_max_ap_loss.
    """
    settings = config.export
    training = load_split(config.data, "train", detector.classes)
    annotations = audit_ground_truth(config, load_split(config.data, config.eval.eval_split, detector.classes), folder)
    if not any(len(record.labels) for record in annotations.records):
        raise DatasetError(f"{annotations.source}: no image has an annotation, so what --int8 costs cannot be "
                           "measured; give a split with annotations as --eval_split")
    records = spread(training.records, settings.int8_images)
    if not records:
        raise DatasetError(f"{training.source}: the training split, which int8 is calibrated with, has no image")
    print(f"calibration: {len(records)} of {len(training.records)} images of {training.source}")
    inputs = calibration_inputs(config, detector, records)
    quantize(model, target, ({name: np.stack([row] * settings.export_batch_size)
                              for name, row in zip(detector.input_names, rows)} for rows in inputs))
    loss = Loss(_measured(config, detector, model, annotations), _measured(config, detector, target, annotations),
                len(records))
    for name, before in loss.before.items():
        print(f"{name}: {before:.4f} in float32, {loss.after[name]:.4f} in int8")
    check_loss(loss, settings.int8_max_ap_loss)
    return loss


def check_loss(loss: Loss, allowed: float) -> None:
    """Raises ExportError if a value falls by more than `allowed`."""
    if not loss.largest <= allowed:
        raise ExportError(f"int8 lowers AP by {loss.largest:.4f}, more than the {allowed} that int8_max_ap_loss "
                          "allows; nothing was exported. Calibrate with more images (--int8_images), or accept it with "
                          f"--int8_max_ap_loss {np.ceil(loss.largest * 100) / 100:.2f}")


def spread(records: Sequence[Record], count: int) -> list[Record]:
    """Up to `count` of the records, at equal distances: files are often sorted by what they show."""
    return [records[len(records) * number // count] for number in range(count)] if count < len(records) else \
        list(records)


def calibration_inputs(config: Config, detector: Any, records: Iterable[Record]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the network inputs of each image, without a batch dimension."""
    for record in records:
        image = read_image(record.image_path, record.orientation, config.data.max_image_pixels)
        for array, geometry in detector.views(image, one_shape=True):
            yield (array, *detector.further_inputs(geometry))


def quantize(model: Path, target: Path, inputs: Iterator[dict[str, np.ndarray]]) -> None:
    """Write an ONNX file with the convolutions of `model` in 8 bits, and the rest in float32.

    inputs: {name: array} of each run of the calibration. Batch norms are folded first. Weights have a scale for each
    channel and 7 bits: processors without VNNI add two products in 16 bits, where 8 bits overflow without a message.
    Raises ExportError if onnxruntime cannot do it.
    """
    import onnx
    from onnx import checker, version_converter
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Optional[dict[str, np.ndarray]]:
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as room:
        folded = Path(room, "folded.onnx")
        try:
            quant_pre_process(model, folded, skip_symbolic_shape=True)
            content = onnx.load(folded)
            if any(one.version < OPSET for one in content.opset_import if not one.domain):
                onnx.save(version_converter.convert_version(content, OPSET), folded)
            quantization.quantize_static(
                folded, target, Reader(), op_types_to_quantize=["Conv"], per_channel=True, reduce_range=True,
                activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8)
        except (RuntimeError, ValueError, TypeError, KeyError, checker.ValidationError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"onnxruntime cannot quantise {model.name}: {reason}; export it without --int8") from None


def _measured(config: Config, detector: Any, model: Path, annotations: AnnotationSet) -> dict[str, float]:
    image_type = detector.image_type if isinstance(detector, PostprocessedDetector) else "float32"
    predictor = make_predictor(config.eval, detector, onnx_runner(model, image_type=image_type).run,
                               config.export.export_batch_size, one_shape=True)
    with tempfile.TemporaryDirectory() as room:
        predictions = Path(room, "predictions.json")
        predict_dataset(predictor, annotations, predictions, workers=config.data.num_parallel_workers)
        rows = read_predictions(predictions)
    summary = summary_of(measure(to_coco(annotations), rows, config.eval.metric_backend, detector.with_masks))
    return {name: summary[name] for name in MEASURED if name in summary}
