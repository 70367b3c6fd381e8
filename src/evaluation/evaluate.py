"""Runs a predictor on a data set: writes detections, computes metrics, writes the report."""
from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Optional, Sequence

import numpy as np
from tqdm import tqdm

from src.data.audit import audit
from src.data.audit_report import AuditReport
from src.data.coco_json import to_coco
from src.data.drawing import draw_boxes
from src.data.identity import ImageState
from src.data.images import encode_jpeg, read_image
from src.data.records import AnnotationSet, Record
from src.errors import DatasetError
from src.evaluation.coco import CocoResult, evaluate_coco
from src.evaluation.diagnosis import diagnose
from src.evaluation.image_names import image_names
from src.evaluation.matching import NO_DETECTIONS, ImageBoxes, group_by_image
from src.evaluation.model_file import ModelFile
from src.evaluation.predictions import PredictionWriter, ResultRow, merge_predictions, read_predictions
from src.evaluation.predictor import DetectionStream
from src.evaluation.report import write_report
from src.evaluation.thresholds import (
    ScoreThreshold,
    Thresholds,
    measure_thresholds,
    score_threshold,
    shown_detections,
    store_thresholds,
    stored_thresholds,
    thresholds_path,
)
from src.evaluation.voc import evaluate_voc
from src.files import write_file
from src.model_utils.device_adapter import ALONE, Process
from src.models import detector_class
from src.printable import counted
from src.settings.config import Config
from src.settings.data_formats import DATA_FORMATS
from src.settings.schema import EvalSection

RULE = "=" * 40
OTHERS = 5      # names of classes that a message lists
TITLES = {"bbox": "Evaluate annotation type *bbox*", "segm": "Evaluate annotation type *segm*"}  # as in the zoo
DETECTIONS_PER_IMAGE = 100     # of most programs, and per class of COCO's metric


def audit_as_configured(config: Config, annotations: AnnotationSet,
                        training: Sequence[ImageState] = ()) -> AuditReport:
    """Audit a split with the settings. Raises the errors of `audit`."""
    data = config.data
    _, report = audit(annotations, data.audit_policy, data.max_image_pixels, data.num_parallel_workers,
                      with_masks=detector_class(config).with_masks, training=training)
    return report


def audit_ground_truth(config: Config, annotations: AnnotationSet, folder: Path) -> AnnotationSet:
    """The annotations after the audit, whose findings are written to `folder` and printed.

    Raises DatasetError if all objects are of classes that the model does not have.
    """
    report = audit_as_configured(config, annotations)
    report.write(folder)
    print(f"ground truth: {annotations.source}, {counted(report.after.images, 'image')}, "
          f"{counted(report.after.boxes, 'box')}")
    said = of_other_classes(annotations)
    if said:
        if not report.after.boxes:
            raise DatasetError(f"{annotations.source}: no object is of the model's classes "
                               f"({', '.join(annotations.classes[:OTHERS])}), so nothing can be measured; {said}. Give "
                               "the data that the model is for, or name the classes in the annotations as it does")
        print(f"not measured: {said}")
    if report.findings:
        print(report.table())
    if config.eval.visual_image:
        image_names((record.image_path for record in report.annotations.records), listed=False)  # raises if equal
    return report.annotations


def of_other_classes(annotations: AnnotationSet) -> str:
    """The number of objects that the model cannot find because it has no such class, with the names; empty if none."""
    others = Counter(annotations.unselected)
    if not others:
        return ""
    listed = ", ".join(f"{name} {count}" for name, count in others.most_common(OTHERS))
    return (f"{counted(sum(others.values()), 'object')} of other classes than the model's: {listed}"
            + (", ..." if len(others) > OTHERS else ""))


def predict_dataset(predictor: DetectionStream, annotations: AnnotationSet, path: Path, *,
                    workers: Optional[int] = None, progress: bool = True, process: Process = ALONE,
                    keep_partial: bool = False) -> None:
    """Write the detections of every image to `path` (predictions.json, COCO's result form).

    keep_partial: see PredictionWriter.
    Each of several processes predicts every size-th image; afterwards `path` holds the detections of all.
    """
    parts = [path] if process.size == 1 else [path.with_name(f"{path.stem}_{rank}{path.suffix}")
                                              for rank in range(process.size)]
    _predict(predictor, annotations.records[process.rank::process.size], annotations.category_ids,
             parts[process.rank], workers, progress and process.rank == 0, keep_partial)
    process.barrier()  # all parts are written
    if process.size > 1 and process.rank == 0:
        merge_predictions(parts, path)
    process.barrier()  # the merged file is written


def _predict(predictor: DetectionStream, records: Sequence[Record], category_ids: Sequence[int], path: Path,
             workers: Optional[int], progress: bool, keep_partial: bool) -> None:
    workers = workers or os.cpu_count() or 1

    def read(record: Record) -> np.ndarray:
        return read_image(record.image_path, record.orientation, record.accepted_pixels)

    items = ((record.image_id, record) for record in records)
    with PredictionWriter(path, category_ids, keep_partial) as writer:
        stream = predictor.stream(items, read, workers)
        for image_id, detections in tqdm(stream, total=len(records), unit="image", disable=not progress,
                                         file=sys.stderr, mininterval=1 if sys.stderr.isatty() else 30):
            writer.add(image_id, detections)


def measure(ground_truth: dict, rows: Sequence[ResultRow], backend: str = "auto",
            with_masks: bool = False) -> list[CocoResult]:
    """COCO metrics of the boxes, with with_masks also of the masks."""
    return [evaluate_coco(ground_truth, rows, iou_type, backend)
            for iou_type in (("bbox", "segm") if with_masks else ("bbox",))]


def draw_images(annotations: AnnotationSet, rows: Sequence[ResultRow], threshold: ScoreThreshold,
                folder: Path) -> None:
    """Draw every image with its annotated boxes into <folder>/gt_image, and with the detections of at least `threshold`
    into <folder>/pred_image."""
    found = shown_detections(rows, annotations.category_ids, threshold)
    names = image_names((record.image_path for record in annotations.records), listed=False)
    for record in annotations.records:
        image = read_image(record.image_path, record.orientation, record.accepted_pixels)
        detections = found.get(record.image_id, NO_DETECTIONS)
        drawn = {"gt_image": draw_boxes(image, record.boxes, record.labels, annotations.classes, crowd=record.crowd),
                 "pred_image": draw_boxes(image, detections.boxes, detections.labels, annotations.classes,
                                          detections.scores, detections.masks)}
        for name, canvas in drawn.items():
            path = folder / name / f"{names[record.image_path]}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, encode_jpeg(canvas, 92))


def summary_of(results: Sequence[CocoResult]) -> dict[str, float]:
    """The numbers of `measure` by name: AP, AP50, ... for boxes, mask_AP, ... for masks."""
    boxes, *masks = results
    return {**boxes.summary, **{f"mask_{name}": value for result in masks for name, value in result.summary.items()}}


def print_results(results: Sequence[CocoResult], title: str = "") -> None:
    """The tables in the old zoo's format. title: what its program prints above them."""
    if title:
        print(title)
    for result in results:
        if len(results) > 1:
            print(TITLES[result.iou_type])
        print(result.table(), end="\n\n")
    summary = summary_of(results)
    print(RULE, *(f"{name}mAP: {summary[key]}" for name, key in (("", "AP"), ("mask ", "mask_AP")) if key in summary),
          sep="\n\n")


def _name_of(annotations: AnnotationSet) -> str:
    """The data of an evaluation, as the titles of the zoo name it."""
    return "coco2017 validation dataset" if annotations.source.name == "instances_val2017.json" \
        else annotations.source.name


def print_many_detections(rows: Sequence[ResultRow], settings: EvalSection) -> None:
    """Say where the numbers are not those that others would print: COCO's metric takes 100 detections per image and
    class, other programs hand it 100 per image."""
    counts = Counter(row["image_id"] for row in rows)
    many = [count for count in counts.values() if count > DETECTIONS_PER_IMAGE]
    if many:
        way_out = f"; --max_per_image {DETECTIONS_PER_IMAGE} does so" if hasattr(settings, "max_per_image") else ""
        print(f"more than {DETECTIONS_PER_IMAGE} detections, up to {max(many)}, in {counted(len(many), 'image')}: the "
              f"numbers above count up to {DETECTIONS_PER_IMAGE} per class, other programs {DETECTIONS_PER_IMAGE} per "
              f"image{way_out}")


def print_many_objects(records: Sequence[Record]) -> None:
    """Say where even perfect detections do not reach AP 1: COCO's metric takes 100 detections per image and class."""
    most = [max(np.bincount(record.labels[~record.crowd]), default=0) for record in records]
    many = [count for count in most if count > DETECTIONS_PER_IMAGE]
    if many:
        print(f"{len(many)} images have more than {DETECTIONS_PER_IMAGE} objects of one class, up to {max(many)}: "
              f"COCO's metric counts {DETECTIONS_PER_IMAGE} detections per image and class, so the others are missed "
              "whatever is detected")


def print_diagnosis(ground_truth: dict, rows: Sequence[ResultRow], images: Sequence[ImageBoxes]) -> list[str]:
    """Print why no detection is right; returns the sentences."""
    diagnosis = diagnose(ground_truth, rows, images)
    print("\nWhy the AP is not above 0:", *(f"- {sentence}" for sentence in diagnosis), sep="\n")
    return diagnosis


def choose_threshold(config: Config, model: ModelFile, measured: Optional[Thresholds]) -> ScoreThreshold:
    """Print the score threshold of an evaluation, and store the thresholds beside the model.

    A threshold from another split is used unchanged: the best one for the evaluated images would make them look better.
    """
    tile = config.eval.tile
    stored = stored_thresholds(model.path, model.description, tile)
    if measured is None:    # no annotations, or no right detection
        return _said(score_threshold(config.eval, stored))
    if stored is not None and stored.split != measured.split:
        return _said(score_threshold(config.eval, stored))
    try:
        store_thresholds(model.path, measured, tile)
        print("score thresholds:", thresholds_path(model.path, tile))
    except OSError as error:
        print(f"the score thresholds are not stored: {thresholds_path(model.path, tile)} cannot be written ({error})")
    return _said(score_threshold(config.eval, measured))


def _said(threshold: ScoreThreshold) -> ScoreThreshold:
    print("score threshold:", threshold)
    return threshold


def evaluate_predictions(config: Config, annotations: AnnotationSet, predictions: Path, *, model: ModelFile,
                         facts: dict, headline: dict, curves_png: Optional[bytes] = None) -> list[CocoResult]:
    """Measure a predictions file and print the results. Write report.html beside the file, and the score thresholds
    with the best F1 beside the model.

    Without annotations (COCO's test sets) only the predictions are written.
    """
    settings, folder = config.eval, predictions.parent
    rows = read_predictions(predictions)
    if not any(len(record.labels) for record in annotations.records):
        if settings.visual_image:
            draw_images(annotations, rows, choose_threshold(config, model, None), folder)
        print(f"no image has an annotation, so nothing is measured\npredictions: {predictions}")
        return []
    ground_truth = to_coco(annotations)
    results = measure(ground_truth, rows, settings.metric_backend, detector_class(config).with_masks)
    images = group_by_image(ground_truth, rows)
    print_results(results, detector_class(config).results_title.format(data=_name_of(annotations)))
    print_many_detections(rows, settings)
    print_many_objects(annotations.records)
    threshold = choose_threshold(config, model, measure_thresholds(images, settings.eval_split))
    if settings.visual_image:
        draw_images(annotations, rows, threshold, folder)
    diagnosis = [] if results[0].summary["AP"] > 0 else print_diagnosis(ground_truth, rows, images)
    voc = None
    if DATA_FORMATS[annotations.format].metric == "voc":
        voc = evaluate_voc(images, [one.name for one in results[0].per_class])
        print(voc.table())
    if settings.report:
        page = folder / "report.html"
        write_report(page, annotations=annotations, rows=rows, images=images, results=results, voc=voc,
                     title=f"{config.model.model_name} on {annotations.source.name} ({settings.eval_split})",
                     facts={"model file": model.path, **facts, "metric": results[0].backend,
                            "settings": config.dump_yaml()}, headline=headline,
                     curves_png=curves_png, diagnosis=diagnosis, threshold=threshold)
        print("report:", page)
    print("predictions:", predictions)
    return results
