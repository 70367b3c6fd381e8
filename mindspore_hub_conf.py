"""Entry of MindSpore Hub: network = create_network("ssd300", checkpoint_file_path="ssd300.ckpt")"""
from __future__ import annotations

from src.checkpoint import read_weights
from src.command_line import load_config
from src.conversion.coco_classes import COCO_CLASSES
from src.data.annotations import check_num_classes
from src.evaluation.model_file import load_network
from src.models import build_detector


def create_network(name: str, **settings):
    """The Cell that is evaluated and exported, in inference mode: (B, 3, H, W) float32 -> the tensors that
    docs/deployment.md describes.

    name: a model of src/models.py, or the zoo's faster_rcnn or maskrcnn. settings: keys of its configuration;
    `checkpoint_file_path` names a file with weights and the settings they need, without it the weights are random.
    `classes` are COCO's unless they or the checkpoint name others. `num_classes` is the number that there has to be,
    with or without the background.
    Raises UsageError, ConfigError or CheckpointError.
    """
    path = settings.get("checkpoint_file_path")
    file = [f"--checkpoint_file_path={path}"] if path else []
    config = load_config(["--model_name", name, *file], "read").replace(**settings)
    classes = config.data.classes or COCO_CLASSES
    if config.eval.checkpoint_file_path:
        network, detector = load_network(config, read_weights(config.eval.checkpoint_file_path), tuple(classes))
    else:
        detector = build_detector(config, classes)
        network = detector.network()
    check_num_classes(config.data.num_classes, detector.classes)
    return detector.inference(network).set_train(False)
