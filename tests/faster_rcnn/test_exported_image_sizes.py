"""Files exported in a style whose boxes end with the image take the images' sizes as a second input."""
from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
import recipe
from mindspore import Tensor

from export import export
from src.checkpoint import save_weights
from src.command_line import load_config
from src.evaluation.model_file import open_predictor, read_model
from src.models import build_detector

CLASSES = ("cat", "dog")
SMALL = {"model_name": "faster_rcnn_resnet50", "box_style": "torchvision", "img_width": 64, "img_height": 64,
         "fpn_out_channels": 8, "rcnn_fc_out_channels": 16, "rpn_nms_pre": 30, "rpn_max_num": 20, "test_nms_pre": 40,
         "test_max_per_img": 10, "anchor_scales": 4, "export_batch_size": 2, "device_target": "CPU"}


@pytest.mark.parametrize("file_format", ["ONNX", pytest.param("MINDIR", marks=pytest.mark.nightly)])
def test_an_exported_file_clips_boxes_to_each_image_of_a_batch(tmp_path, file_format):
    """export() itself compares the file with the network; a wide and a high image, the wide one black."""
    config = load_config([*(f"--{key}={value}" for key, value in SMALL.items()), f"--file_format={file_format}"],
                         "export")
    ms.set_seed(1)                      # for the backbone's weights
    network = build_detector(config, CLASSES).network()
    for parameter in network.get_parameters():
        if parameter.name.startswith(("rpn.", "box_head.")):
            parameter.set_data(Tensor(recipe.value(parameter.name, parameter.shape)))
    growth = network.box_head.deltas.bias    # of every box, so far that all reach beyond the image and are clipped
    growth.set_data(Tensor(np.tile(np.float32([0, 0, 20, 20]), len(growth) // 4)))
    checkpoint = tmp_path / "random.ckpt"
    save_weights(checkpoint, network.parameters_dict(), "faster_rcnn_resnet50", CLASSES)

    path = export(config, checkpoint, tmp_path)

    inputs = json.loads(path.with_suffix(".json").read_text())["inputs"]
    assert inputs == [{"name": "images", "type": "float32", "shape": [2, 3, 64, 64]},
                      {"name": "image_sizes", "type": "float32", "shape": [2, 2]}]
    wide, high = open_predictor(config, read_model(path))([np.zeros((30, 60, 3), np.uint8), recipe.image(60, 30, 1)])
    for found, width, height in ((wide, 60, 30), (high, 30, 60)):
        assert len(found) and (found.boxes[:, 2:] <= [width, height]).all()
        assert found.boxes[:, 2].max() > width - 1 and found.boxes[:, 3].max() > height - 1
