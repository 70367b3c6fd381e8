"""Compares an exported file with the network that it was written from."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from src.errors import ExportError
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictor import mindir_runner, onnx_runner
from src.model_utils.device_adapter import chip_name, convolves_in_half
from src.ops.detections import Detections

# Largest difference of an output, relative to 1 or to its largest value: where file and network compute in float32, and
# where a chip has convolutions with 10 bits of mantissa only, so that two orders of adding differ in the third digit.
TOLERANCE = 1e-4
TOLERANCE_OF_HALF = 1e-2
ALIKE = 0.8  # fraction of the rows of a ranked list that must be within the tolerance


def tolerance() -> float:
    """What `check_equal` allows on this process's device; prints it where it is more than rounding of float32."""
    if not convolves_in_half(chip_name()):
        return TOLERANCE
    print(f"{chip_name()} has convolutions in float16 only: the file's outputs may differ from the network's by "
          f"{TOLERANCE_OF_HALF}, elsewhere by {TOLERANCE}")
    return TOLERANCE_OF_HALF


def check_equal(path: Path, inputs: list, wanted: list, detector: Any, allowed: float = TOLERANCE) -> float:
    """Largest difference between the exported file's outputs and the network's; ExportError if it is not `allowed`."""
    found = (onnx_runner(path).run if path.suffix == ".onnx" else mindir_runner(path))(*inputs)
    for name, want, have in zip(detector.output_names, wanted, found):
        if want.shape != have.shape:
            raise ExportError(f"{path.name}: output {name} has the shape {have.shape}, the network's is {want.shape}")
    if detector.ranked_by is not None:
        differences = {"rows": ranked_difference(wanted, found, detector.ranked_by)}
    else:
        differences = {name: float(np.abs(want.astype(np.float64) - have).max() / max(1.0, np.abs(want).max()))
                       for name, want, have in zip(detector.output_names, wanted, found)}
    for name, difference in differences.items():
        if not difference <= allowed:
            raise ExportError(f"{path.name}: output {name} differs from the network's by {difference:.3g} (allowed "
                              f"{allowed}); nothing was exported")
    return max(differences.values())


def check_detections(path: Path, inputs: list, wanted: Detections, detector: PostprocessedDetector,
                     image_size: tuple[int, int]) -> tuple[list, float]:
    """The outputs of a file with_postprocess, and the largest difference of its detections from those that the family
    decodes from the network's outputs; ExportError above the tolerance."""
    outputs = onnx_runner(path, image_type=detector.image_type).run(*inputs)
    found = detector.postprocess([output[0] for output in outputs], detector.geometry(*image_size))
    rows = outputs[0].shape[1]
    difference = ranked_difference([as_rows(wanted, rows, image_size)], [as_rows(found, rows, image_size)], 4)
    if not difference <= TOLERANCE:
        raise ExportError(f"{path.name}: the detections differ from those that are decoded from the network's outputs "
                          f"by {difference:.3g} (allowed {TOLERANCE}); nothing was exported")
    return outputs, difference


def as_rows(found: Detections, count: int, image_size: tuple[int, int]) -> np.ndarray:
    """(1, count, 7): x1, y1, x2, y2, score, class, and the fraction of the image that the mask covers; 0 in the rows
    beyond the last detection."""
    rows = np.zeros((1, count, 7))
    rows[0, :len(found), :4] = found.boxes
    rows[0, :len(found), 4], rows[0, :len(found), 5] = found.scores, found.labels
    if found.masks:
        rows[0, :len(found), 6] = coco_mask.area(found.masks) / np.prod(image_size)
    return rows


def ranked_difference(wanted: list, found: list, score_column: int) -> float:
    """The distance between outputs (B, N, ...) whose rows are sorted by score.

    Rounding can swap rows of nearly equal score, change the last rows, or make NMS keep the other of two boxes. So each
    row that is not at the end is compared with the nearest row of `found`, and the quantile ALIKE of these distances is
    returned.
    score_column: column of the scores in the joined outputs of an image.
    """
    distances = []
    for rows, others in zip(side_by_side(wanted), side_by_side(found)):
        scale = np.maximum(1.0, np.abs(rows).max(axis=0))
        scores = rows[:, score_column]
        safe = scores > scores[-1] + TOLERANCE
        distances += [(np.abs(others - row) / scale).max(axis=1).min() for row in rows[safe]]
        if not safe.any():  # no detection in the image: both outputs must agree on that
            distances.append(np.abs(scores - others[:, score_column]).max())
    return float(np.quantile(distances, ALIKE))


def side_by_side(outputs: list) -> np.ndarray:
    """Outputs (B, N, ...) as one table (B, N, columns) of float64."""
    return np.concatenate([output.reshape(*output.shape[:2], -1).astype(np.float64) for output in outputs], axis=2)
