"""A checkpoint and the files exported from it are evaluated to the same AP, whichever SSD it is."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import recipe
from golden import Golden
from ssd_family import detector_of, network_of_the_recipe

from export import export
from src.checkpoint import save_weights
from src.data.coco_json import to_coco
from src.data.records import AnnotationSet, LabelledBox, make_record
from src.evaluation.evaluate import measure, predict_dataset
from src.evaluation.model_file import open_predictor, read_model
from src.evaluation.predictions import read_predictions

SMALL_INPUT = {  # every map still has a cell
    "ssd300": "128,96", "ssd_mobilenet_v1": "128,96", "ssd_mobilenet_v1_fpn": "136,96", "ssd_resnet50_fpn": "136,96",
    "ssd_vgg16": "272,264"}
PICTURE_SIZE = (90, 120)


# ssd300 is exported and evaluated by day in tests/cli/test_commands.py; the large ones take tens of seconds each.
NIGHTLY = ("ssd300", "ssd_mobilenet_v1_fpn", "ssd_resnet50_fpn", "ssd_vgg16")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.nightly if name in NIGHTLY else ())
                        for name in SMALL_INPUT])
def detector(request):
    return detector_of(request.param, "--img_shape", SMALL_INPUT[request.param], "--min_score", "0.02",
                       "--max_per_image", "20", "--export_batch_size", "2", "--device_target", "CPU")


def drawn(folder, objects_of) -> AnnotationSet:
    """Three pictures; objects_of: picture -> its LabelledBoxes."""
    records = []
    for image_id in (1, 2, 3):
        path, picture = folder / f"{image_id}.png", recipe.image(*PICTURE_SIZE, image_id)
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        records.append(make_record(path, image_id, PICTURE_SIZE, objects_of(picture), path.name))
    return AnnotationSet(tuple(f"class {index}" for index in range(80)), tuple(range(1, 81)), tuple(records), folder,
                         "coco", folder / "made.json")


def half_of_what_is_found(predictor):
    """Makes objects of every second detection, a tenth of its size away, so that an untrained network has an AP."""
    def objects_of(picture):
        (found,) = predictor([picture])
        moved = found.boxes + 0.1 * np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
        return [LabelledBox(tuple(box), int(label), object_id)
                for object_id, (box, label) in enumerate(zip(moved[::2].tolist(), found.labels[::2]), 1)]

    return objects_of


def test_a_checkpoint_and_its_exports_have_one_ap(detector, tmp_path):
    # given random weights as a checkpoint, and the files exported from it
    model, config = detector.config.model.model_name, detector.config
    checkpoint = tmp_path / "random.ckpt"
    save_weights(checkpoint, network_of_the_recipe(detector, Golden(model)).parameters_dict(), model, detector.classes)
    files = [checkpoint] + [export(config.replace(file_format=file_format), checkpoint, tmp_path)
                            for file_format in ("MINDIR", "ONNX")]
    with_postprocess = config.replace(file_format="ONNX", with_postprocess=True, export_batch_size=1, file_name="whole")
    files.append(export(with_postprocess, checkpoint, tmp_path))
    assert [path.suffix for path in files] == [".ckpt", ".mindir", ".onnx", ".onnx"]

    # when all of them are evaluated
    predictors = [open_predictor(config, read_model(path)) for path in files]
    annotations = drawn(tmp_path, half_of_what_is_found(predictors[0]))
    results = []
    for path, predictor in zip(files, predictors):
        predictions = tmp_path / f"{path.name}.json"
        predict_dataset(predictor, annotations, predictions, progress=False)
        results += measure(to_coco(annotations), read_predictions(predictions), "pycocotools")

    # then
    aps = [result.summary["AP"] for result in results]
    assert 0.1 < aps[0] < 0.95
    assert aps[1:] == pytest.approx([aps[0]] * 3, abs=1e-4)
