"""COCO metrics: a case worked out by hand, the oracle of pycocotools, agreement of the two backends, diagnosis."""
import contextlib
import copy
import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from src.errors import ProjectError, UsageError
from src.evaluation.coco import evaluate_coco
from src.evaluation.diagnosis import diagnose
from src.evaluation.matching import group_by_image

pytest.importorskip("pycocotools")
BACKENDS = ("pycocotools", "faster_coco_eval")
ONE = pytest.approx(1, abs=1e-12)  # pycocotools divides by the number of detections plus 2e-16


def data_set(objects, images=(1, 2), categories=(1, 2)):
    """objects: (image, category, box[, crowd]) tuples."""
    return {"images": [{"id": image, "width": 200, "height": 200} for image in images],
            "categories": [{"id": category, "name": f"class {category}"} for category in categories],
            "annotations": [{"id": number, "image_id": image, "category_id": category, "bbox": list(box),
                             "area": box[2] * box[3], "iscrowd": int(any(crowd))}
                            for number, (image, category, box, *crowd) in enumerate(objects, 1)]}


def row(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


def evaluate(ground_truth, rows, backend="auto", **options):
    if backend == "faster_coco_eval":
        pytest.importorskip("faster_coco_eval")
    return evaluate_coco(ground_truth, rows, backend=backend, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_three_boxes_by_hand(backend):
    """Two objects of class 1; detections right, wrong, right in the order of their scores.

    Precision over recall: 1 up to recall 1/2, then 2/3. Of COCO's 101 recall levels 0, 0.01, ... 1 the first 51 reach
    at most 1/2, so AP = (51 * 1 + 50 * 2/3) / 101. The boxes are exact: the same at every IoU. Class 2 is absent and
    does not count. The best detection of each image alone: 2 of 2 objects.
    """
    ground_truth = data_set([(1, 1, (10, 10, 40, 40)), (2, 1, (10, 10, 40, 40))])
    rows = [row(1, 1, (10, 10, 40, 40), 0.9), row(1, 1, (120, 120, 40, 40), 0.8), row(2, 1, (10, 10, 40, 40), 0.7)]

    result = evaluate(ground_truth, rows, backend)

    by_hand = (51 + 50 * 2 / 3) / 101
    for metric in ("AP", "AP50", "AP75", "APm"):
        assert result.summary[metric] == pytest.approx(by_hand, abs=1e-12)
    assert result.summary["AR1"] == result.summary["AR100"] == 1
    assert result.summary["APs"] == result.summary["APl"] == -1
    first, second = result.per_class
    assert (first.objects, first.detections, first.AP, first.AR) == (2, 3, pytest.approx(by_hand, abs=1e-12), 1)
    assert (second.objects, second.detections, second.AP, second.AP50, second.AR) == (0, 0, -1, -1, -1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_without_detections_and_without_objects_count(backend):
    """An object that nothing found halves the recall, a detection where there is no object the precision."""
    objects = [(1, 1, (10, 10, 40, 40)), (2, 1, (10, 10, 40, 40))]
    right, wrong = row(1, 1, (10, 10, 40, 40), 0.5), row(3, 1, (10, 10, 40, 40), 0.9)
    of_two = evaluate(data_set(objects), [right], backend).summary
    assert of_two["AR100"] == 0.5 and of_two["AP"] == pytest.approx(51 / 101)
    assert evaluate(data_set(objects[:1], images=(1, 3)), [right, wrong], backend).summary["AP"] == pytest.approx(0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_ids_of_images_up_to_2_to_the_63_are_told_apart(backend):
    """Names made of the time give such ids; as floating-point numbers, neighbours among them are equal."""
    random, results = np.random.default_rng(0), []
    shifts, scores = random.integers(0, 30, 60).tolist(), random.random(60).tolist()
    for first in (1, 2 ** 53, 2 ** 63 - 20):
        ids = range(first, first + 20)
        ground_truth = data_set([(image, 1 + number % 2, (10, 10, 40, 40)) for number, image in enumerate(ids[::2])],
                                images=ids)
        rows = [row(ids[number % 20], 1 + number % 2, (10 + shifts[number], 10, 40, 40), scores[number])
                for number in range(60)]
        before = copy.deepcopy((ground_truth, rows))
        results.append(evaluate(ground_truth, rows, backend))
        assert (ground_truth, rows) == before
    assert 0 < results[0].summary["AP"] < 1
    for result in results[1:]:
        np.testing.assert_array_equal(results[0].stats, result.stats)


@pytest.mark.parametrize("backend", BACKENDS)
def test_iou_between_thresholds_by_hand(backend):
    """A box of 10 x 10 shifted by 2 of 10 pixels: IoU 80 / 120 = 0.667, right at 0.50, 0.55, 0.60, 0.65: AP 4 / 10."""
    result = evaluate(data_set([(1, 1, (0, 0, 10, 10))]), [row(1, 1, (2, 0, 10, 10), 0.5)], backend)
    assert result.summary["AP"] == pytest.approx(0.4, abs=1e-12)
    assert (result.summary["AP50"], result.summary["AP75"]) == (ONE, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_detections_on_a_crowd_count_neither_way(backend):
    ground_truth = data_set([(1, 1, (0, 0, 100, 100), True), (1, 1, (150, 150, 20, 20))])
    rows = [row(1, 1, (10 * step, 10, 30, 30), 0.9) for step in range(5)] + [row(1, 1, (150, 150, 20, 20), 0.1)]
    assert evaluate(ground_truth, rows, backend).summary["AP"] == ONE


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_detections_are_a_result(backend):
    result = evaluate(data_set([(1, 1, (0, 0, 40, 40))]), [], backend)
    assert result.summary["AP"] == result.summary["AR100"] == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_annotated_gives_minus_one(backend):
    ground_truth = data_set([])
    assert (evaluate(ground_truth, [row(1, 1, (0, 0, 9, 9), 0.5)], backend).stats == -1).all()
    assert "nothing to measure" in diagnosis(ground_truth, [])


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_annotation_with_id_0_can_be_found(backend):
    ground_truth = data_set([(1, 1, (0, 0, 40, 40))])
    ground_truth["annotations"][0]["id"] = 0
    assert evaluate(ground_truth, [row(1, 1, (0, 0, 40, 40), 0.5)], backend).summary["AP"] == ONE


def test_inputs_stay_as_they_are():
    ground_truth = data_set([(1, 1, (0, 0, 40, 40)), (2, 1, (0, 0, 40, 40))])
    rows = [row(1, 1, (0, 0, 40, 40), 0.5)]
    before = copy.deepcopy((ground_truth, rows))
    assert evaluate(ground_truth, rows).summary["AR100"] == 0.5
    assert (ground_truth, rows) == before


def test_the_table_is_the_one_that_pycocotools_prints():
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    ground_truth = data_set([(1, 1, (0, 0, 40, 40)), (2, 2, (0, 0, 10, 10))])
    rows = [row(1, 1, (2, 0, 40, 40), 0.5), row(2, 2, (0, 0, 9, 10), 0.4)]
    printed = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy({**ground_truth, "info": {}})
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(copy.deepcopy(rows)), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        with contextlib.redirect_stdout(printed):
            evaluator.summarize()
    assert evaluate(ground_truth, rows).table() == printed.getvalue().rstrip("\n")


def encoded(polygon) -> dict:
    """A polygon on an image of 200 x 200 as run lengths."""
    from pycocotools import mask

    rle = mask.merge(mask.frPyObjects([polygon], 200, 200))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def drawn_objects(images: int, seed: int = 0) -> tuple:
    """(ground truth, detections): triangles of three classes and all sizes, one in ten of them a crowd; most objects
    are found once or twice, a little aside, with any score, some under another class."""
    from pycocotools import mask

    rng, objects, rows = np.random.default_rng(seed), [], []
    for image in rng.integers(1, images + 1, 8 * images).tolist():
        x, y, side = (int(value) for value in (*rng.integers(0, 150, 2), 2 ** rng.uniform(3, 7.4)))
        rle = encoded([x, y, x + side, y, x, y + side])
        label = int(rng.integers(1, 4))
        objects.append({"id": len(objects) + 1, "image_id": image, "category_id": label, "segmentation": rle,
                        "bbox": mask.toBbox(rle).tolist(), "area": float(mask.area(rle)),
                        "iscrowd": int(rng.random() < 0.1)})
        for _ in range(rng.integers(0, 3)):
            dx, dy, wider = (int(value) for value in rng.normal(0, 0.1 * side, 3))
            found = encoded([x + dx, y + dy, x + dx + side + wider, y + dy, x + dx, y + dy + side])
            rows.append({"image_id": image, "category_id": label if rng.random() < 0.8 else label % 3 + 1,
                         "score": float(rng.random()), "bbox": mask.toBbox(found).tolist(), "segmentation": found})
    return {**data_set([], range(1, images + 1), (1, 2, 3)), "annotations": objects}, rows


def stats_of_pycocotools(ground_truth: dict, rows: list, iou_type: str) -> list:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy({**ground_truth, "info": {}})
        truth.createIndex()
        other = "segmentation" if iou_type == "bbox" else "bbox"  # pycocotools takes rows with a box for boxes
        found = [{key: value for key, value in copy.deepcopy(one).items() if key != other} for one in rows]
        evaluator = COCOeval(truth, truth.loadRes(found), iou_type)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_equal_to_pycocotools_on_a_hundred_images(iou_type, backend, capsys):
    ground_truth, rows = drawn_objects(100)
    expected = stats_of_pycocotools(ground_truth, rows, iou_type)
    assert (expected > 0.05).all() and (expected < 0.95).all()

    result = evaluate(ground_truth, rows, backend, iou_type=iou_type)

    np.testing.assert_allclose(result.stats, expected, rtol=0, atol=1e-9)
    assert result.backend == {"faster_coco_eval": "faster-coco-eval"}.get(backend, backend)
    assert capsys.readouterr().out == ""


def test_the_size_of_a_mask_is_its_area_also_beside_a_box():
    """A thin diagonal: its box of 60 x 60 is medium, its 60 pixels are small."""
    from pycocotools import mask

    rle = mask.encode(np.asfortranarray(np.eye(60, dtype=np.uint8)))
    rle = {"size": [60, 60], "counts": rle["counts"].decode()}
    off = mask.encode(np.asfortranarray(np.eye(60, k=1, dtype=np.uint8)))
    off = {"size": [60, 60], "counts": off["counts"].decode()}
    ground_truth = data_set([(1, 1, (0, 0, 60, 60))])
    ground_truth["annotations"][0].update(segmentation=rle, area=60)
    rows = [{**row(1, 1, (0, 0, 60, 60), score), "segmentation": one} for score, one in ((0.9, off), (0.8, rle))]
    # The wrong mask comes first: it halves the precision among small masks only if it counts as small itself.
    assert evaluate(ground_truth, rows, iou_type="segm").summary["APs"] == pytest.approx(0.5)


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 60)] * 2)
objects = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), boxes, st.booleans()), max_size=8)
scores = st.sampled_from([0.1, 0.3, 0.5, 0.5, 0.9])
detections = st.lists(st.builds(row, st.integers(1, 3), st.integers(1, 2), boxes, scores), max_size=10)


@given(objects, detections)
@settings(max_examples=60, deadline=None)
def test_backends_agree_on_crowds_ties_and_empty_images(objects, detections):
    ground_truth = data_set(objects, images=(1, 2, 3))
    one, other = (evaluate(ground_truth, detections, backend) for backend in BACKENDS)
    np.testing.assert_allclose(one.stats, other.stats, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.precision, other.precision, rtol=0, atol=1e-9)
    np.testing.assert_allclose([result.AR for result in one.per_class], [result.AR for result in other.per_class],
                               rtol=0, atol=1e-9)


@given(objects, detections, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_order_of_rows_does_not_matter(objects, detections, random):
    assume(objects)
    ranked = [{**one, "score": (rank + 1) / 100} for rank, one in enumerate(detections)]  # COCO breaks ties by order
    shuffled = random.sample(ranked, len(ranked))
    ground_truth = data_set(objects, images=(1, 2, 3))
    np.testing.assert_array_equal(evaluate(ground_truth, ranked).stats, evaluate(ground_truth, shuffled).stats)


@given(objects, detections)
@settings(max_examples=30, deadline=None)
def test_empty_images_change_nothing(objects, detections):
    """Empty images between the others change nothing."""
    moved = [(image * 10, *rest) for image, *rest in objects]
    rows = [{**one, "image_id": one["image_id"] * 10} for one in detections]
    near = evaluate(data_set(objects, images=(1, 2, 3)), detections)
    far = evaluate(data_set(moved, images=range(40)), rows)
    np.testing.assert_array_equal(near.stats, far.stats)


@pytest.mark.parametrize("rows, options, error, message", [
    ([row(9, 1, (0, 0, 1, 1), 0.5)], {}, ProjectError, "detection 1: image 9 is not in the ground truth"),
    ([row(1, 1, (0, 0, 1, 1), 0.5)], {"iou_type": "segm"}, ProjectError, "detection 1: has no segmentation"),
    ([], {"iou_type": "segm"}, ProjectError, "annotation 1: has no segmentation"),
    ([], {"iou_type": "keypoints"}, UsageError, "keypoints"),
    ([], {"backend": "fast"}, UsageError, '"fast"'),
])
def test_what_cannot_be_evaluated(rows, options, error, message):
    with pytest.raises(error, match=message):
        evaluate_coco(data_set([(1, 1, (0, 0, 5, 5))]), rows, **options)


def diagnosis(ground_truth, rows) -> str:
    return " ".join(diagnose(ground_truth, rows, group_by_image(ground_truth, rows)))


def findings(change, objects=((1, 1, (40, 60, 30, 50)), (2, 1, (100, 20, 60, 30)))):
    rows = [row(image, category, box, 0.9) for image, category, box in objects]
    return diagnosis(data_set(objects), [{**one, **change(one)} for one in rows])


@pytest.mark.parametrize("change, sentence", [
    (lambda one: {"image_id": one["image_id"] + 100}, "No image id of the predictions (101, 102) occurs"),
    (lambda _: {"category_id": 80}, "No category id of the predictions (80) occurs in the ground truth (1, 2)"),
    (lambda _: {"category_id": 2}, "All detections are of classes without an annotated object (class 2)"),
    (lambda one: {"bbox": [one["bbox"][0], one["bbox"][1], one["bbox"][0] + one["bbox"][2],
                           one["bbox"][1] + one["bbox"][3]]}, "Read as x1, y1, x2, y2, 100% would fit"),
    (lambda one: {"bbox": [one["bbox"][i] for i in (1, 0, 3, 2)]}, "Read as y, x, height, width, 100% would fit"),
    (lambda one: {"bbox": [v / 200 for v in one["bbox"]]}, "Read as fractions of the image, 100% would fit"),
    (lambda one: {"bbox": [v / 2 for v in one["bbox"]]}, "Detections reach to x 80, y 55; objects to x 160, y 110"),
    (lambda one: {"bbox": [v * 4 for v in one["bbox"]]}, "100% of these boxes reach beyond their image"),
    (lambda _: {"score": 0.01}, "The highest score is 0.010: the network is hardly trained"),
])
def test_a_diagnosis_names_the_cause(change, sentence):
    assert sentence in findings(change)


def test_a_diagnosis_of_swapped_class_names():
    objects = [(1, 1, (40, 60, 30, 50)), (2, 2, (100, 20, 60, 30))]
    assert "the classes wrong" in findings(lambda one: {"category_id": 3 - one["category_id"]}, objects)


def test_a_diagnosis_of_no_detections():
    assert "not one detection for 1 object in 2 images" in diagnosis(data_set([(1, 1, (0, 0, 5, 5))]), [])


def test_a_diagnosis_of_ids_that_are_known_one_at_a_time():
    rows = [row(1, 9, (0, 0, 5, 5), 0.9), row(9, 1, (0, 0, 5, 5), 0.9)]
    assert "has both an image id and a category id" in diagnosis(data_set([(1, 1, (0, 0, 5, 5))]), rows)
