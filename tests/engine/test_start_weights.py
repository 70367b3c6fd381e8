"""What a training starts from: a checkpoint of a detector or of a backbone, by whatever name the old zoo gave it."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn

from src.checkpoint import Weights, save_weights
from src.command_line import load_config
from src.engine import start_weights
from src.engine.start_weights import (
    Start,
    load_start,
    require_start_files,
    with_settings_of_run,
    with_settings_of_start,
)
from src.errors import ConfigError, UsageError
from src.models import MODELS, build_detector, detector_class
from src.settings.old_keys import ALIASES, MODEL_FILE

NO_IMAGENET = ("--feature_extractor_base_param", "none")


@pytest.mark.parametrize("flag", [MODEL_FILE, *(old for old, key in ALIASES.items() if key == MODEL_FILE)])
def test_a_model_file_that_is_given_to_train_is_where_it_starts(flag, tmp_path):
    path = tmp_path / "start.ckpt"
    config = load_config(["--model_name", "centernet_resnet50", f"--{flag}", str(path)], "train")
    assert (config.train.pre_trained, config.eval.checkpoint_file_path) == (str(path), None)
    with pytest.raises(UsageError, match=r"pre_trained .*start.ckpt, .* does not exist; .* --pre_trained none"):
        require_start_files(config)
    path.touch()
    require_start_files(config)
    evaluated = load_config(["--model_name", "centernet_resnet50", f"--{flag}", str(path)], "eval")
    assert (evaluated.train.pre_trained, evaluated.eval.checkpoint_file_path) == (None, str(path))


def test_two_checkpoints_to_start_from_are_one_too_many():
    with pytest.raises(ConfigError, match="load_checkpoint_path = 'b' contradicts pre_trained = 'a'.*mean pre_trained"):
        load_config(["--model_name", "ssd300", "--pre_trained", "a", "--load_checkpoint_path", "b"], "train")


@pytest.mark.parametrize("text, started, evaluated", [
    ("model_name: centernet_resnet50\nload_checkpoint_path: a.ckpt", "a.ckpt", "a.ckpt"),
    ("model_name: ssd300\ncheckpoint_file_path: a.ckpt", None, "a.ckpt"),
    ("model: {model_name: ssd300}\neval: {checkpoint_file_path: a.ckpt}", None, "a.ckpt")])
def test_a_file_starts_training_where_the_zoo_s_train_py_read_it(text, started, evaluated, tmp_path):
    path = tmp_path / "given.yaml"
    path.write_text(text)
    assert load_config(["--config_path", str(path)], "train").train.pre_trained == started
    assert load_config(["--config_path", str(path)], "eval").eval.checkpoint_file_path == evaluated


@pytest.fixture(scope="module")
def mobilenet_v1():
    detector = build_detector(load_config(["--model_name", "ssd_mobilenet_v1", *NO_IMAGENET], "train"), ["a", "b"])
    return detector, detector.network()


def started(mobilenet_v1, *flags: str) -> dict:
    """Name -> array of the network after `load_start`, every parameter having been 0.25 before."""
    detector, network = mobilenet_v1
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(np.full(parameter.shape, 0.25, np.float32)))
    config = load_config(["--model_name", "ssd_mobilenet_v1", *NO_IMAGENET, *flags], "train")
    load_start(network, detector, config, Start(config))
    return {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}


def checkpoint(path, mobilenet_v1, name_of) -> str:
    """Every parameter that name_of gives a name, 0.5 everywhere."""
    _, network = mobilenet_v1
    arrays = {name_of(parameter.name): Tensor(np.full(parameter.shape, 0.5, np.float32))
              for parameter in network.get_parameters() if name_of(parameter.name)}
    save_weights(path, arrays, "ssd_mobilenet_v1", ["a", "b"])
    return str(path)


def zoo_names(mobilenet_v1, detector_names: bool, beginning: str = "backbone."):
    """Our name -> the zoo's, in files of whole detectors or of ImageNet backbones."""
    cells = mobilenet_v1[0].zoo_cells() if detector_names else mobilenet_v1[0].imagenet_cells()
    theirs = {ours: name for name, ours in cells.items()}

    def name_of(ours: str):
        cell, _, word = ours.rpartition(".")
        return f"{theirs[cell]}.{word}" if cell in theirs and ours.startswith(beginning) else None

    return name_of


@pytest.mark.parametrize("names", ["ours", "zoo's detector", "zoo's ImageNet file"])
def test_pre_trained_may_hold_a_backbone_only(names, mobilenet_v1, tmp_path, capsys):
    name_of = (lambda name: name if name.startswith("backbone.") else None) if names == "ours" else zoo_names(
        mobilenet_v1, "detector" in names)
    path = checkpoint(tmp_path / "a.ckpt", mobilenet_v1, name_of)
    found = started(mobilenet_v1, "--pre_trained", path)
    assert all((array == (0.5 if name.startswith("backbone.") else 0.25)).all() for name, array in found.items())
    assert capsys.readouterr().out == f"training starts from the backbone in {path}\n"


def test_pre_trained_that_holds_a_detector_is_loaded_whole(mobilenet_v1, tmp_path, capsys):
    path = checkpoint(tmp_path / "a.ckpt", mobilenet_v1, str)
    assert all((array == 0.5).all() for array in started(mobilenet_v1, "--pre_trained", path).values())
    assert capsys.readouterr().out == f"training starts from the detector in {path}\n"
    found = started(mobilenet_v1, "--pre_trained", path, "--filter_weight", "True")
    assert all((array == (0.25 if name.startswith("class_predictors.") else 0.5)).all()
               for name, array in found.items())
    said = capsys.readouterr().out
    assert "randomly initialised (checkpoint_filter_list): " in said


def test_of_a_detector_that_is_given_as_the_backbone_file_its_backbone_is_taken(mobilenet_v1, tmp_path, capsys):
    path = checkpoint(tmp_path / "a.ckpt", mobilenet_v1, zoo_names(mobilenet_v1, True, ""))
    found = started(mobilenet_v1, "--feature_extractor_base_param", path)
    assert all((array == (0.5 if name.startswith("backbone.") else 0.25)).all() for name, array in found.items())
    assert "from the backbone in" in (line := capsys.readouterr().out) and "--pre_trained would take the whole" in line


def test_weights_with_folded_norms_are_trained_with_fixed_norms_only(mobilenet_v1, tmp_path):
    _, network = mobilenet_v1
    eps = {f"{name}.moving_variance": cell.eps for name, cell in network.cells_and_names()
           if isinstance(cell, nn.BatchNorm2d)}
    arrays = {parameter.name: Tensor(np.full(parameter.shape, 1 - eps[parameter.name] if parameter.name in eps else 0,
                                             np.float32)) for parameter in network.get_parameters()}
    save_weights(tmp_path / "folded.ckpt", arrays, "ssd_mobilenet_v1", ["a", "b"])
    flags = "--pre_trained", str(tmp_path / "folded.ckpt")
    with pytest.raises(UsageError, match="folded into the convolutions.*--fixed_norms True"):
        started(mobilenet_v1, *flags)
    started(mobilenet_v1, *flags, "--fixed_norms", "True")


# One reading of the file

UP_SAMPLING = "network.resnet50.deconv_layers.0.weight"  # a name that only the zoo's CenterNet has


def test_the_file_is_read_once_and_not_kept(monkeypatch):
    read = []
    monkeypatch.setattr(start_weights, "read_weights",
                        lambda path: read.append(path) or Weights({UP_SAMPLING: np.ones(1)}, Path(path)))
    config = load_config(["--model_name", "centernet_resnet50", "--pre_trained", "zoo.ckpt"], "train")
    start = Start(config)
    assert with_settings_of_start(config, start).model.up_sampling == "plain"
    assert list(start.take().arrays) == [UP_SAMPLING] and start.weights is None and read == ["zoo.ckpt"]


def test_a_resumed_run_has_the_settings_its_start_decided_though_the_file_is_gone(capsys):
    flags = "--model_name", "centernet_resnet50", "--pre_trained", "gone.ckpt"
    config = load_config(flags, "train")
    earlier = config.replace(up_sampling="plain")
    assert not earlier.differences(with_settings_of_run(config, earlier))
    assert "goes on as it began: up_sampling plain" in capsys.readouterr().out
    contradicting = load_config([*flags, "--up_sampling", "deformable"], "train")
    assert earlier.differences(with_settings_of_run(contradicting, earlier))


@pytest.mark.parametrize("model", MODELS)
def test_what_checkpoints_of_the_zoo_may_decide_is_listed(model):
    """For resuming, which does not read the checkpoint."""
    cls = detector_class(load_config(["--model_name", model], "train"))
    outputs = {f"{head}.{layer}.bias": np.ones(8) for head in ("rcnn", "rcnn_cls.fpn_cls")
               for layer in ("cls_scores", "reg_scores")}
    decided = cls.settings_of_zoo({**outputs, UP_SAMPLING: np.ones(1), "backbone.bn1_0.gamma": np.ones(1)})
    assert set(decided) == set(cls.decided_by_zoo)
