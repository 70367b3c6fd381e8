"""A predictor on a data set: detections on disk, metrics, report."""
from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.data.annotations import load_split
from src.data.audit import audit
from src.data.coco_json import to_coco
from src.data.drawing import draw_boxes
from src.data.images import encode_jpeg, read_image
from src.evaluation.coco import evaluate_coco
from src.evaluation.diagnosis import diagnose
from src.evaluation.predictions import PredictionWriter, merge_predictions, read_predictions
from src.evaluation.report import write_report
from src.evaluation.voc import evaluate_voc
from src.files import write_file
from src.model_utils.device_adapter import ALONE, Process
from src.models import detector_class
from src.settings.data_formats import DATA_FORMATS

RULE = "=" * 40
TITLES = {"bbox": "Boxes", "segm": "Masks"}


def audited_split(config, split: str, classes) -> tuple:
    """(AnnotationSet, AuditReport) of a split, with the classes of the model in its order.

    Raises what `load_split` and `audit` raise.
    """
    data = config.data
    annotations = load_split(data.model_copy(update={"classes": classes and list(classes)}), split)
    return audit(annotations, data.audit_policy, data.max_image_pixels, data.num_parallel_workers,
                 with_masks=detector_class(config).with_masks)


def open_data(config, classes, folder: Path):
    """The audited split that the configuration names; what the audit found is written to `folder` and printed."""
    annotations, findings = audited_split(config, config.eval.eval_split, classes)
    findings.write(folder)
    print(f"ground truth: {annotations.source}, {findings.after.images} pictures, {findings.after.boxes} boxes")
    if findings.findings:
        print(findings.table())
    return annotations


def predict_dataset(predictor, annotations, path: Path, *, workers: int | None = None, progress: bool = True,
                    process: Process = ALONE) -> list:
    """Write the detections of every picture to `path` (predictions.json, COCO's result form); returns the image ids.

    Several processes predict every size-th picture each; when they return, `path` holds what all have found.
    """
    parts = [path] if process.size == 1 else [path.with_name(f"{path.stem}_{rank}{path.suffix}")
                                              for rank in range(process.size)]
    _predict(predictor, annotations.records[process.rank::process.size], annotations.category_ids,
             parts[process.rank], workers, progress and process.rank == 0)
    process.any()  # all parts are there
    if process.size > 1 and process.rank == 0:
        merge_predictions(parts, path)
    process.any()  # the whole is there
    return sorted(record.image_id for record in annotations.records)


def _predict(predictor, records, category_ids, path: Path, workers: int | None, progress: bool) -> None:
    workers = workers or os.cpu_count() or 1

    def read(record):
        return read_image(record.image_path, (record.height, record.width), max_pixels=None)

    items = ((record.image_id, record) for record in records)
    with PredictionWriter(path, category_ids) as writer:
        stream = predictor.stream(items, read, workers)
        for image_id, detections in tqdm(stream, total=len(records), unit="image", disable=not progress,
                                         file=sys.stderr, mininterval=1 if sys.stderr.isatty() else 30):
            writer.add(image_id, detections)


def measure(annotations, path: Path, image_ids: list, backend: str = "auto", with_masks: bool = False) -> list:
    """COCO metrics of a predictions file: a CocoResult of the boxes, and with masks one of the masks."""
    ground_truth, rows = to_coco(annotations), read_predictions(path)
    return [evaluate_coco(ground_truth, rows, iou_type, image_ids, backend)
            for iou_type in (("bbox", "segm") if with_masks else ("bbox",))]


def draw_pictures(annotations, predictions: Path, threshold: float) -> None:
    """Every picture with its annotated boxes in gt_image, with the detected ones from `threshold` on in pred_image,
    beside the predictions file."""
    found = {record.image_id: [] for record in annotations.records}
    for row in read_predictions(predictions):
        if row["score"] >= threshold:
            found[row["image_id"]].append(row)
    labels = {category_id: label for label, category_id in enumerate(annotations.category_ids)}
    for name in ("gt_image", "pred_image"):
        predictions.with_name(name).mkdir(exist_ok=True)
    for record in annotations.records:
        image, rows = read_image(record.image_path, (record.height, record.width)), found[record.image_id]
        boxes = np.array([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        drawn = {"gt_image": draw_boxes(image, record.boxes, record.labels, annotations.classes, crowd=record.crowd),
                 "pred_image": draw_boxes(image, boxes, [labels[row["category_id"]] for row in rows],
                                          annotations.classes, [row["score"] for row in rows],
                                          [row.get("segmentation") for row in rows])}
        for name, picture in drawn.items():
            write_file(predictions.with_name(name) / f"{record.image_path.stem}.jpg", encode_jpeg(picture, 92))


def summary_of(results: list) -> dict:
    """The numbers of `measure` by name: those of the boxes as COCO calls them, those of the masks as mask_AP, ..."""
    boxes, *masks = results
    return {**boxes.summary, **{f"mask_{name}": value for result in masks for name, value in result.summary.items()}}


def print_results(results: list, annotations, path: Path) -> list:
    """The tables in the old zoo's form; returns the diagnosis, which is printed when no box was found right."""
    for result in results:
        if len(results) > 1:
            print(f"{TITLES[result.iou_type]}:")
        print(result.table(), end="\n\n")
    summary = summary_of(results)
    print(RULE, *(f"{name}mAP: {summary[key]}" for name, key in (("", "AP"), ("mask ", "mask_AP")) if key in summary),
          sep="\n\n")
    if summary["AP"] > 0:
        return []
    diagnosis = diagnose(to_coco(annotations), read_predictions(path), results[0].image_ids)
    print("\nWhy the AP is not above 0:", *(f"- {sentence}" for sentence in diagnosis), sep="\n")
    return diagnosis


def judge(config, annotations, predictions: Path, image_ids: list, *, facts: dict, headline: dict,
          curves_png: bytes | None = None) -> list:
    """Measure a predictions file, print the results, write report.html beside the file; returns the CocoResults.

    Of pictures without annotations (COCO's test sets) the predictions are all there is.
    """
    if config.eval.visual_image:
        draw_pictures(annotations, predictions, config.eval.report_score_threshold)
    if not any(len(record.labels) for record in annotations.records):
        print(f"no picture has an annotation, so nothing is measured\npredictions: {predictions}")
        return []
    results = measure(annotations, predictions, image_ids, config.eval.metric_backend,
                      detector_class(config).with_masks)
    diagnosis = print_results(results, annotations, predictions)
    if config.eval.report:
        voc = None
        if DATA_FORMATS[annotations.format].metric == "voc":
            voc = evaluate_voc(to_coco(annotations), read_predictions(predictions), image_ids=image_ids)
            print(voc.table())
        page = predictions.with_name("report.html")
        write_report(page, annotations=annotations, predictions=predictions, results=results, voc=voc,
                     title=f"{config.model.model_name} on {annotations.source.name} ({config.eval.eval_split})",
                     facts={**facts, "metric": results[0].backend, "settings": config.dump_yaml()}, headline=headline,
                     curves_png=curves_png, diagnosis=diagnosis, score_threshold=config.eval.report_score_threshold)
        print("report:", page)
    print("predictions:", predictions)
    return results
