"""One evaluation as one HTML file: numbers, plots and pictures, with nothing to load from elsewhere."""
from __future__ import annotations

import base64
from collections import defaultdict
from pathlib import Path

import numpy as np

from src.data.coco_json import to_coco
from src.data.images import encode_jpeg, read_image
from src.errors import ImageError, ProjectError
from src.evaluation import analysis, visualize
from src.evaluation.coco import METRICS
from src.evaluation.matching import group_by_image
from src.evaluation.predictions import read_predictions
from src.files import write_file
from src.ops.detections import Detections

PICTURES = 6
JPEG_QUALITY = 82

METRIC_MEANINGS = {
    "AP": "mean over classes and the IoU thresholds 0.50, 0.55, ... 0.95 of the average precision; COCO's main number",
    "AP50": "average precision where a box counts as right from IoU 0.50 up, mean over classes",
    "AP75": "the same from IoU 0.75 up: tight boxes",
    "APs": "AP of small objects, area below 32 x 32 pixels",
    "APm": "AP of medium objects, area from 32 x 32 to 96 x 96 pixels",
    "APl": "AP of large objects, area above 96 x 96 pixels",
    "AR1": "share of objects found with the one best detection per picture and class, mean over IoU thresholds",
    "AR10": "the same with the 10 best detections",
    "AR100": "the same with the 100 best detections",
    "ARs": "AR100 of small objects",
    "ARm": "AR100 of medium objects",
    "ARl": "AR100 of large objects",
}


def write_report(path, *, title, annotations, predictions, results, facts, headline=None, voc=None, curves_png=None,
                 diagnosis=(), score_threshold=None):
    """Write report.html.

    path: the file to write; it appears when it is complete.
    title: headline of the page.
    annotations: the evaluated `AnnotationSet`.
    predictions: rows in COCO's result form with boxes, or the path of their file.
    results: the `CocoResult`s; the first one gives the headline numbers and the curves, and must be of "bbox"; one
        of "segm" may follow.
    facts: name -> value; text of several lines is folded away.
    headline: name -> text, shown large beside AP and AP50 (milliseconds per image, ...).
    voc: a `VocResult` or None.
    curves_png: PNG bytes of the training curves or None.
    diagnosis: sentences of `diagnose`.
    score_threshold: for confusion matrix, counts and pictures; the one with the best F1 when None.
    Raises ProjectError when the file cannot be written.
    """
    rows = predictions if isinstance(predictions, list) else read_predictions(predictions)
    box = results[0]
    images = group_by_image(to_coco(annotations), rows, box.image_ids)
    threshold = analysis.working_threshold(images) if score_threshold is None else score_threshold
    names = [one.name for one in box.per_class]
    matrix = analysis.confusion_matrix(images, len(names), threshold)
    worst, best = _worst_and_best(analysis.rank_pictures(images, threshold))
    picture = _PictureMaker(annotations, rows, threshold)
    html = _render(
        title=title, diagnosis=diagnosis, results=results, box=box, voc=voc, names=names, meanings=METRIC_MEANINGS,
        headline={"AP": _metric(box.summary["AP"]), "AP50": _metric(box.summary["AP50"]),
                  "images": f"{len(box.image_ids):,}", "objects": f"{sum(one.objects for one in box.per_class):,}",
                  **(headline or {})},
        metrics=[(name, METRIC_MEANINGS[name], [result.summary[name] for result in results]) for name in METRICS],
        threshold=threshold, chosen=score_threshold is None, iou=analysis.IOU_THRESHOLD,
        pr_curves=visualize.pr_curves(box), class_bars=visualize.class_bars(box),
        confusion=visualize.confusion_plot(matrix, names), confusions=analysis.frequent_confusions(matrix),
        errors=analysis.error_types(images, threshold), curves_png=curves_png,
        worst=[picture(score) for score in worst], best=[picture(score) for score in best],
        short_facts={name: value for name, value in facts.items() if "\n" not in str(value)},
        long_facts={name: value for name, value in facts.items() if "\n" in str(value)})
    _write(Path(path), html)


def _worst_and_best(ranked):
    """The first pictures with errors and the last ones with something found, no picture twice; the extremes first."""
    worst = [score for score in ranked[:PICTURES] if score.missed or score.wrong]
    best = [score for score in ranked[len(worst):][-PICTURES:] if score.found]
    return worst, best[::-1]


class _PictureMaker:
    """Makes the template's view of one `PictureScore`: its numbers and the pair of pictures."""

    def __init__(self, annotations, rows, threshold):
        self.classes = annotations.classes
        self.records = {record.image_id: record for record in annotations.records}
        self.label_of = {category_id: label for label, category_id in enumerate(annotations.category_ids)}
        self.rows = defaultdict(list)
        for row in rows:
            if row["score"] >= threshold and row["category_id"] in self.label_of:
                self.rows[row["image_id"]].append(row)

    def __call__(self, score):
        record = self.records[score.image_id]
        view = {"name": record.image_path.name, "score": score, "jpeg": None, "problem": None}
        try:
            image = read_image(record.image_path, (record.height, record.width))
        except ImageError as error:
            view["problem"] = str(error)
        else:
            pair = visualize.picture_pair(image, record, self._detections(score.image_id), self.classes)
            view["jpeg"] = encode_jpeg(pair, JPEG_QUALITY)
        return view

    def _detections(self, image_id):
        rows = self.rows[image_id]
        boxes = np.array([row["bbox"] for row in rows], dtype=np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = [row["segmentation"] for row in rows] if all("segmentation" in row for row in rows) else None
        return Detections(boxes, np.array([row["score"] for row in rows], dtype=np.float32),
                          np.array([self.label_of[row["category_id"]] for row in rows], dtype=np.int32), masks)


def _render(**context):
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["metric"] = _metric
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html.j2").render(context)


def _metric(value):
    """A metric for reading; COCO's -1 and VOC's NaN become a dash."""
    return f"{value:.3f}" if value >= 0 else "\N{EN DASH}"


def _data_uri(data, kind):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _write(path, text):
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text)
    except OSError as error:
        raise ProjectError(f"{path}: cannot be written ({error}); choose another output folder") from None
