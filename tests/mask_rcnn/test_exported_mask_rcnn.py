"""A checkpoint and the files exported from it are evaluated to the same AP of boxes and masks."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
import recipe
from mindspore import Tensor

from export import export
from src.checkpoint import save_weights
from src.command_line import load_config
from src.data.coco_json import to_coco
from src.data.records import AnnotationSet, LabelledBox, make_record
from src.evaluation.evaluate import measure, predict_dataset, summary_of
from src.evaluation.model_file import open_predictor, read_model
from src.evaluation.predictions import json_rle, read_predictions
from src.models import build_detector

CLASSES = ("circle", "rectangle", "triangle")
PICTURE_SIZE = (90, 120)
SMALL = {"img_width": 128, "img_height": 96, "fpn_out_channels": 16, "rcnn_fc_out_channels": 32,
         "rcnn_mask_out_channels": 8, "rpn_nms_pre": 50, "rpn_max_num": 30, "test_nms_pre": 60, "test_max_per_img": 10,
         "anchor_scales": 4, "export_batch_size": 2, "device_target": "CPU"}


def confident_network(detector):
    """Initial weights, but for scores and masks that differ clearly from row to row: at near-ties each format would
    rank its own way."""
    network = detector.network()
    for parameter in network.get_parameters():
        if parameter.name.startswith(("rpn.", "box_head.", "mask_head.")) and "deltas" not in parameter.name:
            parameter.set_data(Tensor(recipe.value(parameter.name, parameter.shape)))
    return network


def drawn(folder, predictor) -> AnnotationSet:
    """Three pictures. Every second detection becomes an object: its box a tenth of its size away, its mask as it is,
    so that an untrained network has an AP."""
    records = []
    for image_id in (1, 2, 3):
        path, picture = folder / f"{image_id}.png", recipe.image(*PICTURE_SIZE, image_id)
        cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        (found,) = predictor([picture])
        moved = found.boxes + 0.1 * np.tile(found.boxes[:, 2:] - found.boxes[:, :2], 2)
        objects = [LabelledBox(tuple(moved[index].tolist()), int(found.labels[index]), image_id * 100 + index,
                               segment=json_rle(found.masks[index])) for index in range(0, len(found), 2)]
        records.append(make_record(path, image_id, PICTURE_SIZE, objects, path.name))
    return AnnotationSet(CLASSES, (1, 2, 3), tuple(records), folder, "coco", folder / "made.json")


@pytest.mark.nightly    # by day tests/cli/test_application_models.py compares an exported file with the network
def test_a_checkpoint_and_its_exports_have_one_ap(tmp_path):
    config = load_config(["--model_name", "mask_rcnn_resnet50",
                          *(f"--{key}={value}" for key, value in SMALL.items())], "export")
    detector = build_detector(config, CLASSES)
    checkpoint = tmp_path / "random.ckpt"
    save_weights(checkpoint, confident_network(detector).parameters_dict(), "mask_rcnn_resnet50", CLASSES)
    files = [checkpoint] + [export(config.replace(file_format=file_format), checkpoint, tmp_path)
                            for file_format in ("MINDIR", "ONNX")]
    with_postprocess = config.replace(file_format="ONNX", with_postprocess=True, export_batch_size=1, file_name="whole")
    files.append(export(with_postprocess, checkpoint, tmp_path))
    assert [path.suffix for path in files] == [".ckpt", ".mindir", ".onnx", ".onnx"]

    predictors = [open_predictor(config, read_model(path)) for path in files]
    annotations = drawn(tmp_path, predictors[0])
    summaries = []
    for path, predictor in zip(files, predictors):
        predictions = tmp_path / f"{path.name}.json"
        predict_dataset(predictor, annotations, predictions, progress=False)
        summaries.append(summary_of(measure(to_coco(annotations), read_predictions(predictions), "pycocotools",
                                            with_masks=True)))

    for name in ("AP", "mask_AP"):
        aps = [summary[name] for summary in summaries]
        assert 0.1 < aps[0] < 0.95
        assert aps[1:] == pytest.approx([aps[0]] * 3, abs=1e-4)
