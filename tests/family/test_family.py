"""The contract of a family: the four keep it, and a family that keeps it is trained, evaluated and exported."""
from __future__ import annotations

import json

import cv2
import mindspore as ms
import numpy as np
import pytest
import toy_family

import export
import train
from src import models
from src.checkpoint import read_weights
from src.command_line import load_config
from src.data.annotations import load_split
from src.data.shapes import draw_shapes
from src.engine.build import build_trainer
from src.engine.start_weights import Start
from src.evaluation.evaluate import audit_as_configured
from src.evaluation.model_file import open_predictor, read_model
from src.family import Detector
from src.model_utils.device_adapter import ALONE

GIVEN = [name for name in Detector.__annotations__ if not hasattr(Detector, name)]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_has_a_detector_that_gives_what_the_contract_asks_for(name):
    config = load_config(["--model_name", name], "train")
    detector = models.build_detector(config, ["cat", "dog"])
    assert isinstance(detector, Detector) and detector.classes == ("cat", "dog")
    assert [member for member in GIVEN if getattr(detector, member, None) is None] == []
    assert detector.batch_columns[0] == "image" and detector.mean.shape == detector.std.shape == (3,)
    image = np.zeros((90, 120, 3), np.uint8)
    array, geometry = detector.preprocess(image)
    assert array.shape == (3, *detector.input_size) and array.dtype == np.float32
    assert type(geometry) is type(detector.geometry(90, 120))
    assert len(detector.views(image, one_shape=True)) == 1
    described = detector.export_description()["input"]
    assert (described["height"], described["width"]) == detector.input_size


@pytest.mark.parametrize("name, flags", [
    ("ssd300", ["--img_shape", "96,160"]), ("centernet_resnet50", ["--input_res_test", "96,160"]),
    ("faster_rcnn_resnet50", ["--img_height", "96", "--img_width", "160"]),
    ("mask_rcnn_resnet50", ["--img_height", "96", "--img_width", "160"])])
def test_the_size_of_the_input_is_height_then_width(name, flags):
    config = load_config(["--model_name", name, *flags], "train")
    assert models.build_detector(config, ["cat"]).input_size == (96, 160)
    sizes = [field.description for section in (config.model, config.data, config.eval)
             for key, field in type(section).model_fields.items() if key.startswith(("img_shape", "input_res"))]
    assert all("height, width" in text for text in sizes)


@pytest.mark.parametrize("name", models.MODELS)
def test_conditions_are_settings_of_the_model_or_the_input(name):
    config = load_config(["--model_name", name], "train")
    conditions = models.build_detector(config, ["cat"]).conditions()
    values = config.values()
    assert set(conditions) >= {"backbone_style", "mean", "std"}
    for key in set(conditions) & set(values):
        assert conditions[key] == (pytest.approx(values[key]) if key in ("mean", "std") else values[key])


@pytest.mark.parametrize("name, flags, columns", [
    ("ssd_vgg16", "--img_shape 280,300", ("image", "deltas", "classes", "dropout")),
    ("centernet_resnet50", "--input_res_train 64,64", ("image", "heatmap")),
    ("faster_rcnn_resnet50", "--img_height 64 --img_width 96", ("image", "boxes", "labels")),
    ("mask_rcnn_resnet50", "--img_height 64 --img_width 96", ("image", "boxes", "labels", "bitmaps"))])
def test_without_augmentation_a_sample_depends_on_its_image_alone(name, flags, columns):
    detector = models.build_detector(load_config(["--model_name", name, *flags.split()], "train"), ("a", "b"))
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    target = {"boxes": np.float32([[10, 20, 60, 70]]), "labels": np.int32([1]), "crowd": np.zeros(1, bool),
              "segments": [[[10, 20, 60, 20, 60, 70]]]}

    def samples(augment: bool) -> list:
        transform = detector.train_transform(augment)
        return [transform(image, dict(target), np.random.default_rng(seed)) for seed in range(6)]

    first, *others = samples(augment=False)
    for column in columns:
        assert all(np.array_equal(first[column], other[column]) for other in others), column
    assert any(not np.array_equal(samples(augment=True)[0]["image"], other["image"]) for other in samples(augment=True))


def test_a_family_without_a_member_cannot_be_used():
    class Unfinished(Detector):
        pass

    with pytest.raises(TypeError, match="abstract.*inference.*loss.*network.*preprocess"):
        Unfinished(None, [])


@pytest.mark.parametrize("accumulation, updates", [(1, 6), (2, 3)])
def test_the_optimizer_goes_on_where_an_earlier_training_ended(tmp_path, monkeypatch, accumulation, updates):
    """Its count of updates says which learning rate comes next, and how far the weights are averaged."""
    draw_shapes(tmp_path / "shapes", train=4, val=1, size=(60, 50))
    (tmp_path / "toy.yaml").write_text("model:\n  model_name: toy\n", encoding="utf-8")
    toy_family.register(monkeypatch, tmp_path / "toy.yaml")
    flags = {"coco_root": tmp_path / "shapes", "mindrecord_dir": tmp_path / "mindrecord", "batch_size": 2,
             "epoch_size": 5, "pre_trained_epoch_size": 3, "num_parallel_workers": 1,
             "accumulation_steps": accumulation, "python_multiprocessing": False}
    config = load_config(["--model_name", "toy", *(f"--{name}={value}" for name, value in flags.items())], "train")
    files = train.training_files(config, train.find_data(config), tmp_path, ALONE)
    detector = models.build_detector(config, files.classes)
    with build_trainer(config, detector, tmp_path, ALONE, files, None, Start(config)) as trainer:
        assert trainer.train_step.optimizer.global_step.asnumpy().tolist() == [updates]
        assert (trainer.position.epoch, trainer.position.step) == (3, 6)


def test_a_toy_family_is_trained_evaluated_and_exported(tmp_path, monkeypatch):
    draw_shapes(tmp_path / "shapes", train=4, val=2, size=(60, 50))
    (tmp_path / "toy.yaml").write_text("model:\n  model_name: toy\n", encoding="utf-8")
    toy_family.register(monkeypatch, tmp_path / "toy.yaml")
    flags = {"coco_root": tmp_path / "shapes", "mindrecord_dir": tmp_path / "mindrecord", "batch_size": 2,
             "epoch_size": 1, "save_checkpoint_epochs": 1, "eval_start_epoch": 1, "num_parallel_workers": 1,
             "python_multiprocessing": False, "file_format": "ONNX"}
    config = load_config(["--model_name", "toy", *(f"--{name}={value}" for name, value in flags.items())], "train")

    files = train.training_files(config, train.find_data(config), tmp_path, ALONE)
    detector = models.build_detector(config, files.classes)
    validation = audit_as_configured(config, load_split(config.data, "val", files.classes)).annotations
    with build_trainer(config, detector, tmp_path, ALONE, files, validation, Start(config)) as trainer:
        trainer.fit()
    checkpoint, (evaluation,) = trainer.checkpoints.latest()[0], trainer.log.evaluations()
    targets = [toy_family.to_sample(cv2.imread(str(record.image_path))[..., ::-1], {"boxes": record.boxes,
               "labels": record.labels, "crowd": record.crowd}, None) for record in validation.records]
    step, arrays = trainer.train_step, [ms.Tensor(np.stack([target[name] for target in targets]))
                                        for name in detector.batch_columns]
    expected = [float(part.asnumpy()) for part in step.loss(step.normalize(arrays[0]), *arrays[1:])]
    assert [evaluation[name] for name in ("val_loss", "val_box_loss", "val_cls_loss")] == pytest.approx(expected, 1e-4)
    steps = [row for row in map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines()) if "box_loss" in row]
    assert len(steps) == 2 and all(np.isfinite(row["loss"]) for row in steps)
    assert len(json.loads((tmp_path / "validation_predictions.json").read_text())) == 2  # one detection for each image

    exported = export.export(config, checkpoint, tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    (from_checkpoint,), (from_onnx,) = (open_predictor(config, read_model(path))([image])
                                       for path in (checkpoint, exported))
    assert read_weights(checkpoint).model_name == "toy" and len(from_onnx) == 1
    stored = read_weights(checkpoint).conditions
    assert stored == {**detector.conditions(), "norm_eps": None} and stored["mean"] == [0.5, 0.5, 0.5]
    assert json.loads(exported.with_suffix(".json").read_text())["settings"] == detector.conditions()
    np.testing.assert_allclose(from_onnx.boxes, from_checkpoint.boxes, atol=1e-2)
