"""A whole data set through predictor, file and metrics, with a detector that knows the answer."""
from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.command_line import load_config
from src.data.coco_json import load_coco, to_coco
from src.data.shapes import draw_shapes
from src.errors import DatasetError, ImageError
from src.evaluation.evaluate import (
    audit_ground_truth,
    draw_images,
    measure,
    predict_dataset,
    print_many_detections,
    print_many_objects,
    print_results,
    summary_of,
)
from src.evaluation.matching import group_by_image
from src.evaluation.predictions import read_predictions
from src.evaluation.predictor import Predictor
from src.evaluation.report import write_report
from src.evaluation.thresholds import ScoreThreshold
from src.ops.detections import Detections
from src.ops.masks import bitmap, paste_masks
from src.ssd.config import SSDEval


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """An AnnotationSet of six pictures with polygons."""
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    draw_shapes(folder, train=1, val=6, size=(160, 120))
    return load_coco(folder / "annotations" / "instances_val2017.json", folder / "val2017")


class Knowing:
    """Finds every object, its mask as 28 x 28 values over its box: what a perfect mask head can say."""

    def __init__(self, annotations, with_masks=True):
        self.records = iter(annotations.records)
        self.with_masks = with_masks

    def views(self, image, **_):
        return [(np.zeros((3, 1, 1), np.float32), image.shape[:2])]

    def further_inputs(self, _geometry):
        return ()

    def postprocess_views(self, _outputs, geometries):
        record = next(self.records)
        masks = np.stack([self.mask(record, index) for index in range(len(record.labels))])
        return Detections(record.boxes, np.linspace(0.9, 0.5, len(masks)).astype(np.float32), record.labels,
                          paste_masks(masks, record.boxes, geometries[0], 0.5) if self.with_masks else None)

    def mask(self, record, index) -> np.ndarray:
        """The outline's value at 28 x 28 points of the box."""
        whole = bitmap(record.segments[index], record.height, record.width).astype(np.float32)
        x1, y1, x2, y2 = record.boxes[index]
        steps = (np.arange(28) + 0.5) / 28
        columns, rows = x1 + steps * (x2 - x1), y1 + steps * (y2 - y1)
        return whole[rows.astype(int).clip(0, record.height - 1)][:, columns.astype(int).clip(0, record.width - 1)]


def predict(annotations, path: Path, **options) -> list:
    """The rows that are written."""
    predictor = Predictor(Knowing(annotations, **options), lambda images: [images], 1)
    predict_dataset(predictor, annotations, path, workers=1, progress=False)
    return read_predictions(path)


def test_boxes_and_masks_of_a_knowing_detector_are_measured(drawn, tmp_path, capsys):
    rows = predict(drawn, tmp_path / "predictions.json")

    results = measure(to_coco(drawn), rows, with_masks=True)
    summary = summary_of(results)
    print_results(results)

    assert [result.iou_type for result in results] == ["bbox", "segm"]
    assert summary["AP"] == pytest.approx(1) and summary["mask_AP50"] == pytest.approx(1)
    assert 0.8 < summary["mask_AP"] < 1  # 28 x 28 values cannot follow an outline to the pixel
    printed = capsys.readouterr().out
    assert printed.startswith("Evaluate annotation type *bbox*\n Average Precision")
    assert "\n\nEvaluate annotation type *segm*\n Average Precision" in printed
    assert f"\nmAP: {summary['AP']}\n\nmask mAP: {summary['mask_AP']}\n" in printed


def test_images_that_the_audit_has_accepted_are_read_whatever_the_readers_limit_is(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("src.data.images.MAX_PIXELS", 100)
    rows = predict(drawn, tmp_path / "predictions.json", with_masks=False)
    draw_images(drawn, rows, ScoreThreshold(0.5, "setting"), tmp_path)
    ground_truth = to_coco(drawn)
    write_report(tmp_path / "report.html", title="shapes", annotations=drawn, rows=rows, facts={},
                 images=group_by_image(ground_truth, rows), threshold=ScoreThreshold(0.1, "setting"),
                 results=measure(ground_truth, rows))
    assert len(list((tmp_path / "pred_image").iterdir())) == len(drawn.records)
    assert "is more than" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    unknown = replace(drawn, records=tuple(replace(record, height=0) for record in drawn.records))
    with pytest.raises(ImageError, match="is more than 100 pixels"):
        predict(unknown, tmp_path / "predictions.json", with_masks=False)


def test_every_image_is_predicted_whether_it_has_objects_or_not(drawn, tmp_path):
    first, *others = drawn.records
    empty = replace(first, boxes=first.boxes[:0], labels=first.labels[:0], crowd=first.crowd[:0],
                    difficult=first.difficult[:0], areas=first.areas[:0], segments=None, object_ids=())
    detections = Detections(np.float32([[1, 1, 5, 5]]), np.float32([0.9]), np.int32([0]))

    class Everywhere(Knowing):
        def postprocess_views(self, *_):
            return detections

    predictor = Predictor(Everywhere(drawn), lambda images: [images], 4)
    predict_dataset(predictor, replace(drawn, records=(empty, *others)), tmp_path / "a.json", progress=False)
    assert [row["image_id"] for row in read_predictions(tmp_path / "a.json")] == [
        record.image_id for record in drawn.records]


@pytest.mark.parametrize("count, said", [(100, False), (101, True)])
def test_more_detections_than_other_programs_count_are_named(capsys, count, said):
    rows = [{"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [0, 0, 1, 1]}] * count
    print_many_detections(rows, SSDEval())
    printed = capsys.readouterr().out
    assert ("more than 100 detections, up to 101, in 1 image: " in printed) is said
    assert ("--max_per_image 100 does so" in printed) is said


@pytest.mark.parametrize("crowd, said", [(0, True), (1, False)])
def test_more_objects_than_the_metric_counts_detections_are_named(drawn, capsys, crowd, said):
    count = 101
    record = replace(drawn.records[0], labels=np.zeros(count, np.int32), crowd=np.arange(count) < crowd)
    print_many_objects([record, drawn.records[1], replace(record, labels=np.arange(count))])
    assert ("1 images have more than 100 objects of one class, up to 101" in capsys.readouterr().out) is said


def test_without_masks_there_is_one_table(drawn, tmp_path, capsys):
    rows = predict(drawn, tmp_path / "predictions.json", with_masks=False)

    results = measure(to_coco(drawn), rows)
    print_results(results)

    assert [result.iou_type for result in results] == ["bbox"] and "mask_AP" not in summary_of(results)
    printed = capsys.readouterr().out
    assert printed.startswith(" Average Precision") and printed.count("mAP") == 1


def test_the_report_shows_masks(drawn, tmp_path):
    pages = {}
    for with_masks in (True, False):
        folder = tmp_path / str(with_masks)
        rows = predict(drawn, folder / "predictions.json", with_masks=with_masks)
        ground_truth = to_coco(drawn)
        write_report(folder / "report.html", title="shapes", annotations=drawn, rows=rows, facts={},
                     images=group_by_image(ground_truth, rows), threshold=ScoreThreshold(0.1, "setting"),
                     results=measure(ground_truth, rows, with_masks=with_masks))
        pages[with_masks] = (folder / "report.html").read_text(encoding="utf-8")

    assert "Mask AP50" in pages[True] and "Mask AP50" not in pages[False]
    pictures = [page.split('data:image/jpeg;base64,')[1][:5000] for page in pages.values()]
    assert pictures[0] != pictures[1]


def test_memory_does_not_grow_with_the_number_of_images(drawn, tmp_path):
    """Only their ids stay; the bitmap of a single object would be 160 * 120 bytes, its run lengths some 100."""
    def peak(times: int) -> int:
        records = tuple(replace(record, image_id=number * 100 + index)
                        for number in range(times) for index, record in enumerate(drawn.records))
        tracemalloc.start()
        annotations = replace(drawn, records=records)
        predictor = Predictor(Knowing(annotations), lambda images: [images], 1)
        predict_dataset(predictor, annotations, tmp_path / f"{times}.json", workers=1, progress=False)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(5), peak(85)

    assert (many - few) / (80 * len(drawn.records)) < 400


def test_objects_of_classes_that_the_model_lacks_are_counted(drawn, tmp_path, capsys):
    config = load_config(["--model_name", "ssd300"], "eval")
    audit_ground_truth(config, replace(drawn, unselected={"star": 2, "hexagon": 14}), tmp_path)
    assert "not measured: 16 objects of other classes than the model's: hexagon 14, star 2\n" in capsys.readouterr().out
    audit_ground_truth(config, drawn, tmp_path)
    assert "not measured" not in capsys.readouterr().out


def test_a_set_without_one_object_of_the_model_s_classes_is_an_error(drawn, tmp_path):
    none = np.zeros(0, int)
    records = tuple(replace(record, boxes=record.boxes[none], labels=record.labels[none], crowd=record.crowd[none],
                            difficult=record.difficult[none], areas=record.areas[none], object_ids=none, segments=())
                    for record in drawn.records)
    config = load_config(["--model_name", "ssd300"], "eval")
    with pytest.raises(DatasetError, match=r"no object is of the model's classes \(circle.* 273 objects .*: dog 273"):
        audit_ground_truth(config, replace(drawn, records=records, unselected={"dog": 273}), tmp_path)
    audit_ground_truth(config, replace(drawn, records=records), tmp_path)     # a test set without annotations
