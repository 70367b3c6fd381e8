"""Writes an evaluation as one self-contained HTML file with numbers, plots and images."""
from __future__ import annotations

from pathlib import Path
from typing import Optional, Sequence

from src.data.images import encode_jpeg, read_image
from src.data.records import AnnotationSet
from src.errors import ImageError, ProjectError
from src.evaluation import analysis, visualize
from src.evaluation.analysis import ImageScore
from src.evaluation.coco import METRICS, CocoResult
from src.evaluation.matching import NO_DETECTIONS, ImageBoxes
from src.evaluation.predictions import ResultRow
from src.evaluation.thresholds import ScoreThreshold, shown_detections
from src.evaluation.voc import VocResult
from src.files import write_file
from src.html_page import metric, render

IMAGES = 6  # shown of the worst ones, of the typical ones, and of the best
JPEG_QUALITY = 82
TEMPLATE = Path(__file__).with_name("report.html.j2")

METRIC_MEANINGS = {
    "AP": "mean over classes and the IoU thresholds 0.50, 0.55, ... 0.95 of the average precision; COCO's main number",
    "AP50": "average precision where a box counts as right from IoU 0.50 up, mean over classes",
    "AP75": "the same from IoU 0.75 up: tight boxes",
    "APs": "AP of small objects, area below 32 x 32 pixels",
    "APm": "AP of medium objects, area from 32 x 32 to 96 x 96 pixels",
    "APl": "AP of large objects, area above 96 x 96 pixels",
    "AR1": "fraction of objects found with the one best detection per image and class, mean over IoU thresholds",
    "AR10": "the same with the 10 best detections",
    "AR100": "the same with the 100 best detections",
    "ARs": "AR100 of small objects",
    "ARm": "AR100 of medium objects",
    "ARl": "AR100 of large objects",
}


def write_report(path: Path, *, title: str, annotations: AnnotationSet, rows: Sequence[ResultRow],
                 images: Sequence[ImageBoxes], results: Sequence[CocoResult], threshold: ScoreThreshold, facts: dict,
                 headline: Optional[dict] = None, voc: Optional[VocResult] = None, curves_png: Optional[bytes] = None,
                 diagnosis: Sequence[str] = ()) -> None:
    """Write report.html.

    path: the file to write; it is renamed to this name when it is complete.
    title: headline of the page.
    rows: checked result rows with boxes.
    images: `group_by_image` of annotations and rows.
    results: the first one gives the headline numbers and the curves, and must be of "bbox"; one of "segm" may follow.
    threshold: least score in the confusion matrix, the counts of errors and the images.
    facts: name -> value; text of several lines is folded.
    headline: name -> text, shown large beside AP and AP50 (milliseconds per image, ...).
    curves_png: PNG bytes of the training curves or None.
    diagnosis: sentences of `diagnose`.
    Raises ProjectError when the file cannot be written.
    """
    box = results[0]
    least = threshold.value
    shown = [image.suppressed_across_classes(threshold.agnostic_nms) for image in images]
    curve = analysis.f1_curve(shown)
    names = [one.name for one in box.per_class]
    matrix = analysis.confusion_matrix(shown, len(names), least)
    groups = _worst_typical_best(analysis.rank_images(shown, least))
    views = iter(_image_views(annotations, rows, [score for group in groups for score in group],
                              threshold))
    worst, typical, best = ([next(views) for _ in group] for group in groups)
    html = render(
        TEMPLATE, title=title, diagnosis=diagnosis, results=results, box=box, voc=voc, names=names,
        meanings=METRIC_MEANINGS,
        headline={"AP": metric(box.summary["AP"]), "AP50": metric(box.summary["AP50"]),
                  "images": f"{len(images):,}", "objects": f"{sum(one.objects for one in box.per_class):,}",
                  **(headline or {})},
        metrics=[(name, METRIC_MEANINGS[name], [result.summary[name] for result in results]) for name in METRICS],
        threshold=threshold, best_f1=curve.best, class_points=[analysis.f1_curve(shown, label).best
                                                               for label in range(len(names))],
        f1_plot=visualize.f1_plot(curve, least), iou=analysis.IOU_THRESHOLD,
        pr_curves=visualize.pr_curves(box), class_bars=visualize.class_bars(box),
        confusion=visualize.confusion_plot(matrix, names), confusions=analysis.frequent_confusions(matrix),
        errors=analysis.error_types(images, least, shown), curves_png=curves_png,
        worst=worst, typical=typical, best=best,
        short_facts={name: value for name, value in facts.items() if "\n" not in str(value)},
        long_facts={name: value for name, value in facts.items() if "\n" in str(value)})
    _write(path, html)


def _worst_typical_best(ranked: list[ImageScore]) -> tuple[list[ImageScore], list[ImageScore], list[ImageScore]]:
    """The worst images with errors, images around the median, and the best images with a right detection; each image is
    shown once."""
    worst = [score for score in ranked[:IMAGES] if score.missed or score.wrong]
    best = [score for score in ranked[len(worst):][-IMAGES:] if score.found]
    others = ranked[len(worst):len(ranked) - len(best)]
    first = min(max(len(ranked) // 2 - IMAGES // 2 - len(worst), 0), max(len(others) - IMAGES, 0))
    return worst, others[first:first + IMAGES], best[::-1]


def _image_views(annotations: AnnotationSet, rows: Sequence[ResultRow], scores: Sequence[ImageScore],
                 threshold: ScoreThreshold) -> list[dict]:
    """The numbers of each image for the template, and a JPEG with annotated and detected boxes side by side."""
    shown = {score.image_id for score in scores}
    records = {record.image_id: record for record in annotations.records if record.image_id in shown}
    detections = shown_detections((row for row in rows if row["image_id"] in shown), annotations.category_ids,
                                  threshold)
    views = []
    for score in scores:
        record = records[score.image_id]
        view = {"name": record.image_path.name, "score": score, "jpeg": None, "problem": None}
        try:
            image = read_image(record.image_path, record.orientation, record.accepted_pixels)
        except ImageError as error:
            view["problem"] = str(error)
        else:
            pair = visualize.image_pair(image, record, detections.get(score.image_id, NO_DETECTIONS),
                                        annotations.classes)
            view["jpeg"] = encode_jpeg(pair, JPEG_QUALITY)
        views.append(view)
    return views


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text)
    except OSError as error:
        raise ProjectError(f"{path}: cannot be written ({error}); choose another output folder") from None
