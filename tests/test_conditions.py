"""A model file knows the settings that it was made with: they are taken, and what contradicts them is refused."""
from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from src.checkpoint import Statements, read_statements, read_weights, save_weights
from src.command_line import load_config, staged_config
from src.conditions import as_flag, same
from src.errors import ConfigError
from src.evaluation.model_file import exported_detector, read_model
from src.models import MODELS, build_detector, config_class
from src.settings.config import fields
from src.settings.flags import split_flags
from src.settings.schema import DataSection, from_text

CLASSES = ("circle", "triangle")
# Settings of the sections model and data that are no trained_settings of any family, and why.
TRAINING = {"use_float16", "match_threshold", "gamma", "alpha", "background_loss", "initial_score",
            "initial_weights", "crop_rule",
            "feature_extractor_base_param", "checkpoint_filter_list", "hm_weight", "wh_weight", "off_weight",
            "reg_loss", "regression_norm", "frozen_body", "pos_iou_thr", "neg_iou_thr", "min_pos_iou",
            "num_expected_pos", "num_expected_neg", "rpn_proposal_nms_pre", "rpn_proposal_max_num",
            "rpn_proposal_nms_thr", "num_gts", "pos_iou_thr_stage2", "neg_iou_thr_stage2", "num_expected_pos_stage2",
            "num_expected_neg_stage2", "rpn_loss_cls_weight", "rpn_loss_reg_weight", "rcnn_loss_cls_weight",
            "rcnn_loss_reg_weight", "rcnn_loss_mask_fb_weight", "flip_prob", "flip_ratio", "color_jitter",
            "crop_tries", "zoom_out", "input_res_train", "max_objs", "rand_crop", "shift", "scale", "color_aug",
            "eig_val", "eig_vec", "expand_ratio"}
SPEED = {"rpn_nms_pre", "rpn_max_num", "rpn_nms_thr"}   # more proposals find more, with the same weights
# Another value of each setting that keeps the shapes of the parameters.
OTHERS = {
    "ssd300": ["--mean 0.5,0.5,0.5", "--std 0.5,0.5,0.5", "--img_shape 224,224", "--prior_scaling 0.2,0.4",
               "--steps 15,30,60,100,150,300", "--min_scale 0.3", "--max_scale 0.9", "--extras_strides 1,1,2,2,2,1",
               "--default_box_scales 0.1,0.2,0.3,0.5,0.7,0.9,1", "--backbone_style pytorch",
               "--aspect_ratios [[],[2,4],[2,3],[2,3],[2,3],[2,3]]"],
    "ssd_vgg16": ["--vgg_extra_relu true", "--ssd_style torchvision"],
    "faster_rcnn_resnet50": ["--img_height 640", "--img_width 640", "--keep_ratio false", "--resize_sides 600,1000",
                             "--box_style torchvision", "--backbone_style pytorch", "--anchor_scales 4",
                             "--anchor_ratios 0.5,1,3", "--rpn_target_stds 0.1,0.1,0.2,0.2",
                             "--rcnn_target_stds 0.2,0.2,0.4,0.4", "--roi_align_finest_scale 28",
                             "--stem_batch_statistics true"],
    "mask_rcnn_resnet50": ["--mask_roi_size 7"],
    "centernet_resnet50": ["--mean 0.5,0.5,0.5", "--std 0.5,0.5,0.5", "--input_res_test 512,512", "--keep_res false",
                           "--keep_res_multiple 32"],
}


def conditions(model: str, *flags: str) -> dict:
    return build_detector(load_config(["--model_name", model, *flags], "train"), CLASSES).conditions()


def checkpoint(folder: Path, model: str = "ssd300", *flags: str, **more) -> Path:
    """A file that says it is a detector of this model, trained with these flags; its weights are none."""
    path = folder / "moved" / "best.ckpt"
    save_weights(path, {"w": ms.Tensor(np.zeros(1, np.float32))}, model, CLASSES, {**conditions(model, *flags), **more})
    return path


SMALL = ("--img_shape", "160,160", "--min_scale", "0.35", "--mean", "0.4,0.5,0.6")


@pytest.mark.parametrize("command, flag", [("eval", "checkpoint_file_path"), ("train", "pre_trained")])
def test_what_modelarts_fetches_is_read_like_a_file_that_lay_here(tmp_path, monkeypatch, command, flag):
    stored = checkpoint(tmp_path, "ssd300", *SMALL)
    monkeypatch.setattr("src.model_utils.moxing_adapter.fetch",
                        lambda settings: shutil.copytree(stored.parent, settings.load_path))
    for number, (flags, error) in enumerate(((["--lr", "0.5"], None), (["--min_scale", "0.2"], "min_scale"))):
        argv = ["--model_name", "ssd300", f"--{flag}", "best.ckpt", "--enable_modelarts", "True",
                "--checkpoint_url", "s3://bucket/checkpoints", "--load_path", str(tmp_path / f"fetched{number}"),
                "--output_path", str(tmp_path / "output"), "--num_classes", "3", *flags]
        with contextlib.ExitStack() as stack:
            if error and command == "eval":
                stack.enter_context(pytest.raises(ConfigError, match=error))
            config = stack.enter_context(staged_config(argv, command))
            assert config.model.min_scale == (0.2 if error else 0.35) and config.data.mean == [0.4, 0.5, 0.6]
            assert config.data.num_classes == 3 and (error or config.optimizer.lr == 0.5)


@pytest.mark.parametrize("model, flag", [(model, flag) for model, flags in OTHERS.items() for flag in flags])
def test_every_setting_that_changes_numbers_alone_is_carried(model, flag):
    name = flag.split()[0][2:]
    before, after = conditions(model), conditions(model, *flag.split())
    assert name in before and not same(before[name], after[name])


@pytest.mark.parametrize("model", ["ssd300", "faster_rcnn_resnet50", "mask_rcnn_resnet50", "centernet_resnet50"])
def test_every_other_setting_of_the_network_and_its_input_has_a_reason(model):
    config = load_config(["--model_name", model], "train")
    own = {key for key, (section, _) in fields(type(config)).items() if section in ("model", "data")}
    assert own - set(DataSection.model_fields) - set(conditions(model)) <= {"model_name"} | TRAINING | SPEED


def test_a_checkpoint_is_read_in_parts_without_mindspore(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    said = read_statements(path)
    assert said == Statements("ssd300", CLASSES, conditions("ssd300", *SMALL))
    weights = read_weights(path)
    assert (weights.model_name, weights.classes, weights.conditions) == said
    content = path.read_bytes()
    for damaged in (b"", content[:-40], content[:30], b"\xff" * 100, content[:-17] + b"\x0a\xff"):
        path.write_bytes(damaged)
        assert read_statements(path) == Statements()


def test_without_a_configuration_the_settings_are_those_of_the_file(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    for command in ("eval", "predict", "export"):
        config = load_config(["--model_path", str(path)], command)
        assert (config.model.model_name, config.model.img_shape, config.model.min_scale, config.data.mean) == (
            "ssd300", [160, 160], 0.35, [0.4, 0.5, 0.6])
    named = load_config(["--model_name", "ssd300", "--model_path", str(path)], "eval")
    assert named.model.img_shape == [160, 160]     # the values of the model's own file were set by nobody


def test_a_training_from_a_file_goes_on_with_its_settings(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    config = load_config(["--pre_trained", str(path)], "train")
    assert (config.model.model_name, config.model.img_shape) == ("ssd300", [160, 160])
    # A training adapts to other priors, and not to another input of the backbone.
    assert load_config(["--pre_trained", str(path), "--img_shape", "300,300"], "train").model.img_shape == [300, 300]
    with pytest.raises(ConfigError, match="mean: 0.4,0.5,0.6, flag --mean has 0.5,0.5,0.5"):
        load_config(["--pre_trained", str(path), "--mean", "0.5,0.5,0.5"], "train")


def test_of_a_file_that_the_backbone_starts_from_only_its_input_is_taken(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    config = load_config(["--model_name", "ssd300", "--feature_extractor_base_param", str(path)], "train")
    assert (config.data.mean, config.model.img_shape) == ([0.4, 0.5, 0.6], [300, 300])
    with pytest.raises(ConfigError, match="mean: 0.4,0.5,0.6, flag --mean has 0.5,0.5,0.5"):
        load_config(["--model_name", "ssd300", "--feature_extractor_base_param", str(path), "--mean", "0.5,0.5,0.5"],
                    "train")


def test_the_folder_of_a_run_names_its_checkpoint(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    path.rename(path.with_name("best_map.ckpt"))
    assert load_config(["--model_path", str(path.parent)], "eval").model.img_shape == [160, 160]


def test_a_file_that_contradicts_is_refused_with_all_values_and_the_way_out(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    other = MODELS["ssd300"].config_path.with_name("ssd300_mobilenet_v2_small.yaml")
    flags = ["--config_path", str(other), "--model_path", str(path)]
    with pytest.raises(ConfigError) as refused:
        load_config(flags, "eval")
    message = str(refused.value)
    assert refused.value.exit_code == 2 and message.startswith(f"{path} was made with other settings:")
    for words in (r"min_scale: 0.35, ", "mean: 0.4,0.5,0.6, ", f"{other}:"):
        assert words in message
    # What the message advises is right: both ways lead on.
    assert "aspect_ratios" in message and "num_default" in message     # which decide the shapes as well
    advice = message.splitlines()[-1]
    taken = advice[len("Take the settings of the file with "):advice.index("; or")].split()
    assert load_config([*flags, *taken], "eval").model.min_scale == 0.35
    insisted = load_config([*flags, "--insist", advice.split()[-1]], "eval")
    assert insisted.model.min_scale != 0.35 and insisted.data.mean != [0.4, 0.5, 0.6]


def test_priors_of_a_file_that_computes_them_are_no_contradiction(tmp_path):
    """With --auto the file's priors were only the beginning of the training; all other settings count as ever."""
    path = checkpoint(tmp_path, "ssd300", "--img_shape", "300,300", "--min_scale", "0.35")
    small = ["--config_path", str(MODELS["ssd300"].config_path.with_name("ssd300_mobilenet_v2_small.yaml"))]
    auto = [*small, "--auto", "True"]
    config = load_config([*auto, "--model_path", str(path)], "eval")
    assert config.model.min_scale == 0.35 and config.model.num_default == [3, 6, 6, 6, 6, 6]
    started = load_config([*auto, "--pre_trained", str(path)], "train")
    assert started.model.min_scale == 0.35 and started.train.auto
    for flags in (small, [*auto, "--min_scale", "0.2"], [*auto, "--img_shape", "160,160"]):
        with pytest.raises(ConfigError, match="was made with other settings"):
            load_config([*flags, "--model_path", str(path)], "eval")


def test_a_flag_that_contradicts_is_refused_unless_it_is_insisted_on(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    flags = ["--model_path", str(path), "--img_shape", "224,224"]
    with pytest.raises(ConfigError, match="img_shape: 160,160, flag --img_shape has 224,224\n.*--insist img_shape$"):
        load_config(flags, "eval")
    config = load_config([*flags, "--insist", "img_shape"], "eval")
    assert (config.model.img_shape, config.model.min_scale) == ([224, 224], 0.35)
    assert load_config(["--model_path", str(path), "--img_shape", "160,160"], "eval").model.img_shape == [160, 160]


def test_insisting_is_for_one_call(tmp_path):
    path = checkpoint(tmp_path, "ssd300", *SMALL)
    load_config(["--model_path", str(path), "--img_shape", "224,224", "--insist", "img_shape"], "eval").write(
        tmp_path / "moved" / "config.yaml")
    with pytest.raises(ConfigError, match="img_shape: 160,160, .*config.yaml:"):
        load_config(["--model_path", str(path)], "eval")


def test_a_file_of_the_zoo_and_one_of_an_earlier_version_say_nothing(tmp_path):
    path = tmp_path / "zoo.ckpt"
    ms.save_checkpoint([{"name": "w", "data": ms.Tensor(np.zeros(1, np.float32))}], str(path))
    assert load_config(["--model_name", "ssd300", "--model_path", str(path), *SMALL], "eval").model.min_scale == 0.35
    save_weights(path, {"w": ms.Tensor(np.zeros(1, np.float32))}, "ssd300", CLASSES)
    assert load_config(["--model_path", str(path), *SMALL], "eval").model.min_scale == 0.35


def test_the_default_steps_written_out_are_no_contradiction(tmp_path):
    steps = ["--steps", "16,32,64,100,150,300"]
    path = checkpoint(tmp_path, "ssd300")
    assert load_config(["--model_path", str(path), *steps], "eval").model.steps == [16, 32, 64, 100, 150, 300]
    path = checkpoint(tmp_path, "ssd300", *steps)
    assert load_config(["--model_path", str(path)], "eval").model.steps is None
    with pytest.raises(ConfigError, match="steps: none, flag --steps has 15.0,"):
        load_config(["--model_path", str(path), "--steps", "15,30,60,100,150,300"], "eval")


@pytest.mark.parametrize("value, annotated", [([[], [2.0, 3.0]], "aspect_ratios"), (None, "steps"), (True, "keep_res"),
                                              ([0.1, 0.2], "prior_scaling"), ("pytorch", "backbone_style")])
def test_settings_are_written_as_their_flags_are_read(value, annotated):
    known = {**fields(config_class("centernet")), **fields(config_class("ssd"))}
    (flag,) = split_flags([f"--{annotated}", as_flag(value)])
    assert from_text(flag.value, known[annotated][1].annotation) == value


# The description file beside an exported model

def described(folder: Path, model: str, *flags: str, **changed) -> Path:
    detector = build_detector(load_config(["--model_name", model, *flags], "export"), CLASSES)
    description = {"model_name": model, "classes": list(CLASSES), "batch_size": 1,
                   "inputs": [{"name": name} for name in detector.input_names], **detector.export_description(),
                   "settings": detector.conditions(), "built_in": detector.built_in()}
    description["input"].update(changed)
    (folder / "m.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "m.onnx").write_bytes(b"")
    return folder / "m.onnx"


@pytest.mark.parametrize("command", ["eval", "predict", "preprocess", "postprocess"])
def test_an_exported_model_is_used_with_the_settings_of_its_description_file(tmp_path, command):
    path = described(tmp_path, "ssd300", *SMALL)
    config = load_config(["--model_path", str(path)], command)
    assert (config.model.img_shape, config.data.mean) == ([160, 160], [0.4, 0.5, 0.6])
    assert exported_detector(config, read_model(path)).input_size == (160, 160)
    with pytest.raises(ConfigError, match=r"m.onnx was made with other settings:\n  mean: 0.4,0.5,0.6, flag --mean"):
        load_config(["--model_path", str(path), "--mean", "0.5,0.5,0.5"], command)


def test_a_threshold_that_the_exported_model_has_built_in_is_not_ignored(tmp_path):
    path = described(tmp_path, "faster_rcnn_resnet50", "--test_score_thr", "0.2", "--rpn_max_num", "300")
    config = load_config(["--model_path", str(path)], "eval")
    assert (config.eval.test_score_thr, config.model.rpn_max_num) == (0.2, 300)
    flags = ["--model_path", str(path), "--test_score_thr", "0.4"]
    with pytest.raises(ConfigError, match="test_score_thr: 0.2, flag --test_score_thr has 0.4\n.*export the "):
        load_config(flags, "eval")
    insisted = load_config([*flags, "--insist", "test_score_thr"], "eval")
    with pytest.raises(ConfigError, match="m.onnx has test_score_thr 0.2 built in, flag --test_score_thr has 0.4"):
        exported_detector(insisted, read_model(path))


@pytest.mark.parametrize("model, changed", [
    ("ssd300", {"mean": [1.0, 2.0, 3.0]}), ("ssd300", {"channels": "BGR"}), ("ssd300", {"resized_as": "float32"}),
    ("ssd300", {"keep_ratio": True}), ("centernet_resnet50", {"placement": "corner"}),
    ("faster_rcnn_resnet50", {"resize_sides": [600, 1000]}), ("faster_rcnn_resnet50", {"padding": "mean"}),
    ("faster_rcnn_resnet50", {"std": [1.0, 1.0, 1.0]}), ("faster_rcnn_resnet50", {"keep_ratio": False})])
def test_a_description_file_that_was_changed_is_not_ignored(tmp_path, model, changed):
    path = described(tmp_path, model, **changed)
    (name,) = changed
    with pytest.raises(ConfigError, match=f"m.json: the input's {name} is "):
        exported_detector(load_config(["--model_path", str(path)], "eval"), read_model(path))
    exported_detector(load_config(["--model_path", str(path)], "eval"), read_model(described(tmp_path, model)))
