"""Plots, picture pairs and the HTML report, from pictures drawn here."""
import re
from html import unescape

import cv2
import numpy as np
import pytest

from src.data.coco_json import to_coco
from src.data.records import AnnotationSet, Record
from src.errors import ProjectError
from src.evaluation import visualize
from src.evaluation.coco import evaluate_coco
from src.evaluation.diagnosis import diagnose
from src.evaluation.matching import group_by_image
from src.evaluation.report import write_report
from src.evaluation.thresholds import ScoreThreshold
from src.evaluation.voc import evaluate_voc
from src.ops.detections import Detections

pytest.importorskip("pycocotools")
CLASSES = ("circle", "<script>alert(1)</script>")
PNG = b"\x89PNG\r\n\x1a\n"


def annotation_set(folder, boxes_per_image, classes=CLASSES):
    """One 160 x 120 picture per list of (label, x1, y1, x2, y2)."""
    records = []
    for image_id, objects in enumerate(boxes_per_image, 1):
        picture = np.full((120, 160, 3), 200, np.uint8)
        for label, x1, y1, x2, y2 in objects:
            cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), (40 * label, 90, 160), cv2.FILLED)
        cv2.imwrite(str(folder / f"{image_id}.jpg"), picture)
        table = np.array(objects, np.float32).reshape(-1, 5)
        labels, boxes, flags = table[:, 0].astype(np.int32), table[:, 1:], np.zeros(len(objects), bool)
        records.append(Record(folder / f"{image_id}.jpg", image_id, 120, 160, boxes, labels, flags, flags,
                              np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), None, tuple(range(len(objects))),
                              f"{image_id}.xml"))
    return AnnotationSet(classes, tuple(range(1, len(classes) + 1)), tuple(records), folder, "voc", folder)


BOXES = [[(0, 10, 10, 60, 60), (1, 90, 20, 140, 100)], [(0, 30, 30, 80, 90)], []]
ROWS = [{"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [90, 20, 50, 80], "score": 0.8},
        {"image_id": 2, "category_id": 1, "bbox": [30, 30, 50, 60], "score": 0.7}]


def report(folder, annotations, rows, **options):
    ground_truth = to_coco(annotations)
    images = group_by_image(ground_truth, rows)
    write_report(folder / "report.html", title="A & B", annotations=annotations, rows=rows, images=images,
                 results=[evaluate_coco(ground_truth, rows)], voc=evaluate_voc(images, annotations.classes),
                 threshold=ScoreThreshold(0.7, "best F1"),
                 facts={"Model": "ssd300", "Configuration": "model:\n  name: <ssd300>\n"},
                 diagnosis=diagnose(ground_truth, rows, images), **options)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_file_that_loads_nothing(tmp_path):
    html = report(tmp_path, annotation_set(tmp_path, BOXES), ROWS, headline={"ms per image": "12.5"}, curves_png=PNG)

    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    # 4 plots and the training curves; a pair for each of the 2 pictures that hold something
    assert [sum(source.startswith(f"data:image/{kind}") for source in sources) for kind in ("png", "jpeg")] == [5, 2]
    # On a phone text wraps below its numbers and plots are moved sideways, which the classes of their tables say.
    assert html.count('<table class="prose">') == 3 and html.count('<div class="scroll plot"><img') == 4
    assert "12.5" in html and "A &amp; B" in html and "name: &lt;ssd300&gt;" in html
    assert not list(tmp_path.glob("*.tmp"))


def test_the_report_says_what_was_measured(tmp_path):
    """Class 1: found at 0.9, a wrong one at 0.8, found at 0.7: AP (51 + 50 * 2/3) / 101 = 0.835; class 2: 0."""
    html = unescape(report(tmp_path, annotation_set(tmp_path, BOXES), ROWS))
    text = " ".join(re.sub(r"<(?!script)[^>]*>", " ", html.split("</style>")[1]).split())
    assert "A & B 0.417 AP 0.417 AP50 3 images 3 objects" in text
    assert "circle 2 3 0.835 0.835 1.000" in text
    assert "classification 1 +" in text
    assert "1.jpg · F1 0.50 · 1 found, 1 missed, 1 wrong" in text
    assert "2.jpg · F1 1.00 · 1 found, 0 missed, 0 wrong" in text


@pytest.mark.parametrize("boxes, rows", [(BOXES, []), ([[], []], []), ([[]], ROWS[:1])])
def test_nothing_found_and_nothing_annotated_are_reports_too(tmp_path, boxes, rows):
    assert "Diagnosis" in report(tmp_path, annotation_set(tmp_path, boxes), rows)


def test_a_picture_that_is_gone_is_named(tmp_path):
    annotations = annotation_set(tmp_path, BOXES)
    (tmp_path / "1.jpg").unlink()
    assert "1.jpg: cannot be read" in report(tmp_path, annotations, ROWS)


def test_a_folder_that_cannot_be_written(tmp_path):
    annotations = annotation_set(tmp_path, BOXES)
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectError, match="report.html: cannot be written"):
        write_report(tmp_path / "file" / "report.html", title="t", annotations=annotations, rows=ROWS,
                     images=group_by_image(to_coco(annotations), ROWS), facts={},
                     threshold=ScoreThreshold(0.7, "best F1"),
                     results=[evaluate_coco(to_coco(annotations), ROWS)])


def test_plots_of_many_classes(tmp_path):
    """80 classes with a dollar sign, half of them absent: every plot is a PNG of readable size."""
    classes = tuple(f"class ${label}$ with a name that is long" for label in range(80))
    boxes = [[(label, 10, 10, 60, 60)] for label in range(0, 80, 2)]
    ground_truth = to_coco(annotation_set(tmp_path, boxes, classes))
    result = evaluate_coco(ground_truth, [{**ROWS[0], "image_id": 1}])
    plots = (visualize.pr_curves(result), visualize.class_bars(result),
             visualize.confusion_plot(np.eye(81, dtype=int), classes))
    for png in plots:
        height, width = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR).shape[:2]
        assert png.startswith(PNG) and min(height, width) > 400 and max(height, width) < 2500


def test_a_pair_shows_annotated_and_detected_boxes_in_the_pictures_scale(tmp_path):
    """A 160 x 120 picture is drawn 480 x 360 twice, so a box edge at x = 20 lies at 60, and at 480 + 8 + 60."""
    annotations = annotation_set(tmp_path, [[(0, 20, 40, 120, 100)]])
    grey = np.full((120, 160, 3), 128, np.uint8)
    found = Detections(np.float32([[20, 40, 120, 100]]), np.float32([0.5]), np.int32([0]))

    pair = visualize.image_pair(grey, annotations.records[0], found, CLASSES)

    assert pair.shape == (360, 480 + 8 + 480, 3)
    coloured = np.abs(pair.astype(int) - 128).sum(axis=2)[220] > 60  # one line of pixels below the name tags
    assert coloured[60] and coloured[360] and coloured[488 + 60] and coloured[488 + 360]
    assert not coloured[70:350].any() and not coloured[500:540].any()


def test_typical_images_stand_between_the_worst_and_the_best():
    """20 images with F1 of 1/20, 2/20, ...: 6 of the middle, none of them twice."""
    from src.evaluation.analysis import ImageScore
    from src.evaluation.report import _worst_typical_best
    ranked = [ImageScore(number, number, 20 - number, 1, 1.0) for number in range(1, 21)]
    worst, typical, best = ([score.image_id for score in group] for group in _worst_typical_best(ranked))
    assert (worst, typical, best) == ([1, 2, 3, 4, 5, 6], [8, 9, 10, 11, 12, 13], [20, 19, 18, 17, 16, 15])
    assert [len(group) for group in _worst_typical_best(ranked[:3])] == [3, 0, 0]
