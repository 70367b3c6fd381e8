"""The 21 YAML files that the old zoo shipped load as they are and mean what they meant."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shipped_files import FILES, MODELS_OF_FILES, NOT_OFFERED

from src.command_line import load_config
from src.errors import ConfigError

R50, R101 = "official/cv/FasterRCNN/default_config.yaml", "official/cv/FasterRCNN/default_config_101.yaml"
RES2NET = "research/cv/res2net_faster_rcnn/default_config.yaml"
MASK = "official/cv/MaskRCNN/maskrcnn_resnet50/default_config.yaml"
CENTERNET = "research/cv/centernet_resnet50_v1/default_config.yaml"
SSD300 = "official/cv/SSD/config/ssd300_config.yaml"


@pytest.fixture()
def load(tmp_path):
    """A function: name of a shipped file, or text, flags -> settings."""
    def load(name: str, *flags: str, program: str = "train", changed: tuple = ("", "")):
        path = tmp_path / "default_config.yaml"
        text = FILES.get(name, name)
        assert changed[0] in text
        path.write_text(text.replace(*changed, 1), encoding="utf-8")
        return load_config(["--config_path", str(path), *flags], program)

    return load


def test_all_21_files_are_here():
    assert len(FILES) == 21 and {*MODELS_OF_FILES, NOT_OFFERED} == set(FILES)


@pytest.mark.parametrize("name", MODELS_OF_FILES)
def test_a_shipped_file_chooses_its_model_for_every_program(load, name):
    for program in ("train", "eval", "export"):
        config = load(name, program=program)
        assert config.model.model_name == MODELS_OF_FILES[name]
    assert config.data.num_classes in (4, 80, 81)


def test_the_one_backbone_that_is_not_offered_is_said_to_be_so(load):
    with pytest.raises(ConfigError, match="backbone inception_resnet_v2 .an Inception-ResNet. is not offered; choose"):
        load(NOT_OFFERED)


def test_a_model_that_is_not_offered_is_said_to_be_so(tmp_path):
    words = r"model maskrcnn_mobilenetv1 \(a Mask R-CNN with MobileNetV1\) is not offered; choose one of ssd300"
    with pytest.raises(ConfigError, match="flag --model_name: " + words):
        load_config(["--model_name", "maskrcnn_mobilenetv1"], "train")
    (tmp_path / "old.yaml").write_text("# the zoo's\nmodel_name: maskrcnn_mobilenetv1\n")
    with pytest.raises(ConfigError, match="old.yaml:2: " + words):
        load_config(["--config_path", str(tmp_path / "old.yaml")], "eval")


def test_a_backbone_of_other_strides_is_not_taken_for_the_usual_one(load):
    with pytest.raises(ConfigError, match="resnet_v1_50 .*strides in its 1x1.* is not offered"):
        load(R50, "--backbone", "resnet_v1_50")


def test_the_flag_backbone_chooses_the_model_as_well(load):
    argv = ["--backbone", "res2net_101", "--ckpt_file", "a.ckpt"]
    assert load_config(argv, "export").model.model_name == "faster_rcnn_res2net101"
    with pytest.raises(ConfigError, match="res2net50, flag --backbone means faster_rcnn_res2net101; give one"):
        load_config([*argv, "--model_name", "faster_rcnn_res2net50"], "export")
    with pytest.raises(ConfigError, match="backbone resnet_v1_101 means model .*101, .*resnet50; leave"):
        load(R101, "--model_name", "faster_rcnn_resnet50")
    with pytest.raises(ConfigError, match=r"resnet_block = \[3, 4, 6, 3\] is not of faster_rcnn_resnet101, which has"):
        load(R50, "--backbone", "resnet_v1_101")


@pytest.mark.parametrize("flag", ["maskrcnn", "mask_rcnn"])
def test_old_names_of_models_are_flags(flag):
    assert load_config(["--model_name", flag], "train").model.model_name == "mask_rcnn_resnet50"


# --- the checkpoint of each program

@pytest.mark.parametrize("program, wanted", [("eval", "mine.ckpt"), ("predict", "mine.ckpt"), ("export", "other.ckpt")])
def test_every_program_takes_the_checkpoint_that_it_took_in_the_zoo(load, program, wanted, capsys):
    text = "model_name: faster_rcnn_resnet50\ncheckpoint_path: mine.ckpt\nckpt_file: other.ckpt\n"
    assert load(text, program=program).eval.checkpoint_file_path == wanted
    other = "ckpt_file (is the checkpoint of export.py)" if wanted == "mine.ckpt" else "checkpoint_path (is the"
    assert other in capsys.readouterr().err
    assert load(text, "--model_path", "c.ckpt", program=program).eval.checkpoint_file_path == "c.ckpt"


def test_mask_r_cnn_s_four_checkpoints_belong_to_their_programs(load):
    assert load(MASK, program="eval").eval.checkpoint_file_path == "./checkpoint/"
    assert load(MASK, program="export").eval.checkpoint_file_path.endswith("/ckpt_0/mask_rcnn-12_7393.ckpt")


# --- the ground truth

@pytest.mark.parametrize("flag", ["ann_file", "anno_path"])
def test_the_annotations_of_an_evaluation_can_be_named_as_in_the_zoo(load, flag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load(RES2NET, f"--{flag}", "other/val.json", program="eval").data
    assert data.instances_set == str(tmp_path / "other/val.json")


def test_an_empty_ann_file_names_nothing(load, capsys):
    text = "model_name: faster_rcnn_resnet50\nann_file: ''\n"
    assert load(text, program="eval").data.instances_set == "annotations/instances_{}.json"
    assert "ann_file" not in capsys.readouterr().err


def test_the_annotations_of_mask_r_cnn_s_file_count_where_they_exist(load, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert load(MASK, program="eval").data.instances_set == "annotations/instances_{}.json"
    assert "ann_file (./annotations/instances_val2017.json does not exist; " in capsys.readouterr().err
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").touch()
    assert load(MASK, program="eval").data.instances_set == str(tmp_path / "annotations/instances_val2017.json")
    assert load(MASK).data.instances_set == "annotations/instances_{}.json"


# --- values

def test_values_given_as_text_are_read_before_they_are_compared(load):
    assert load("model_name: centernet_resnet50\nenable_profiling: False\nneed_profiler: 'false'\n")
    load("model_name: mask_rcnn_resnet50\n", "--do_train", "True", "--only_create_dataset", "False")
    with pytest.raises(ConfigError, match="only_create_dataset = 'True' contradicts do_train = 'True'"):
        load("model_name: mask_rcnn_resnet50\n", "--do_train=True", "--only_create_dataset=True")


@pytest.mark.parametrize("again, right", [("[1, 1, 2, 2, 2, 2]", True), ("[1, 1, 2, 2, 2, 1]", False)])
def test_a_key_may_be_given_twice_with_the_same_value(load, again, right):
    text = f"model_name: ssd_mobilenet_v1\nextras_strides: [1, 1, 2, 2, 2, 2]\nextras_strides: {again}\n"
    text += "extras_in_channels: [256, 512, 1024, 512, 256, 256]\n"
    text += "extras_out_channels: [512, 1024, 512, 256, 256, 128]\n"
    if right:
        assert load(text).model.extras_strides == [1, 1, 2, 2, 2, 2]
        return
    with pytest.raises(ConfigError, match="'extras_strides' is given twice, first in line 2, with another value"):
        load(text)


def test_arrays_of_numpy_are_read_as_the_lists_inside(load):
    data = load(CENTERNET).data
    assert data.mean == [0.40789654, 0.44719302, 0.47026115]
    assert data.eig_vec[2] == [-0.56089297, 0.71832671, 0.41158938]


@pytest.mark.parametrize("value", ["np.array([__import__('os').getcwd()])", "np.array(range(3))", "lambda x: x",
                                   "np.zeros([3])"])
def test_other_expressions_are_neither_run_nor_taken_for_text(load, value):
    with pytest.raises(ConfigError, match="mean holds the Python expression"):
        load(f"model_name: centernet_resnet50\nmean: {value!r}\n")


@pytest.mark.parametrize("name, old, new", [
    (R50, "min_pos_iou_stage2: 0.5", "min_pos_iou_stage2: 0.3"),
    (R50, "rpn_feat_channels: 256", "rpn_feat_channels: 64"),
    (RES2NET, "anchor_strides: [4, 8,", "anchor_strides: [8, 8,"), (CENTERNET, "down_ratio: 4", "down_ratio: 8"),
    (CENTERNET, "reg_offset: True", "reg_offset: False"), (MASK, "mask_shape: [28, 28]", "mask_shape: [14, 14]")])
def test_a_value_that_cannot_be_changed_here_is_refused_instead_of_ignored(load, name, old, new):
    with pytest.raises(ConfigError, match=rf"{new.split(':')[0]} = .*: here it is .* and cannot be changed"):
        load(name, changed=(old, new))


def test_keys_that_files_may_hold_are_flags_with_the_same_warning(load, capsys):
    load(RES2NET, "--rpn_head_weight", "2.0", "--num_anchors", "3", "--use_sigmoid_cls", "True")
    load(CENTERNET, "--enable_lossscale", "true", "--decay_filer", "x", "--num_stacks", "1")
    warnings = capsys.readouterr().err
    assert "rpn_head_weight" in warnings and "enable_lossscale (the zoo never read it; loss_scale 1" in warnings
    with pytest.raises(ConfigError, match="num_stacks = '2': here it is 1"):
        load(CENTERNET, "--num_stacks", "2")
    with pytest.raises(ConfigError, match="unknown key 'lr'"):
        load(MASK, "--lr", "0.1")


# --- what the zoo meant without saying so

def test_an_old_centernet_file_means_the_plain_up_sampling(load, capsys):
    assert load(CENTERNET).model.up_sampling == "plain"
    assert "as they are meant in the old zoo: up_sampling plain" in capsys.readouterr().err
    assert load(CENTERNET, "--up_sampling", "deformable").model.up_sampling == "deformable"
    assert load_config(["--model_name", "centernet_resnet50"], "train").model.up_sampling == "deformable"


def test_an_old_res2net_file_means_the_zoo_s_stem(load):
    assert load(RES2NET).model.stem_batch_statistics and not load(R50).model.stem_batch_statistics


@pytest.mark.parametrize("name, flags, cards, wanted", [
    (RES2NET, [], 1, 0.04), (RES2NET, [], 8, 0.04), (MASK, [], 1, 0.02), (MASK, [], 8, 0.02),
    (R50, [], 1, 0.04 / 8), (R50, ["--batch_size", "4"], 1, 0.04 / 8), (R101, [], 1, 0.02 / 8),
    (R50, ["--run_distribute", "True"], 8, 0.04), (R50, ["--run_distribute", "True"], 4, 0.04)])
def test_the_learning_rate_is_that_of_the_revision_the_file_belongs_to(load, name, flags, cards, wanted):
    config = load(name, *flags)
    rates = config.optimizer.learning_rates(2, 1000, config.train.batch_size * cards)
    np.testing.assert_allclose(rates.max(), wanted, rtol=1e-6)


def test_before_r1_9_faster_r_cnn_did_not_divide_its_learning_rate(load):
    assert load(R50, changed=("without_bg_loss: True\n", "")).optimizer.base_batch_size is None


@pytest.mark.parametrize("key", ["coco_root", "voc_root", "mindrecord_dir"])
def test_data_path_is_joined_with_the_paths_of_an_old_ssd(load, key, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    flags = ["--data_path", str(tmp_path / "data"), f"--{key}", "inside"]
    assert getattr(load(SSD300, *flags).data, key) == str(tmp_path / "data/inside")
    assert f"{key} {tmp_path}/data/inside" in capsys.readouterr().err
    assert getattr(load(SSD300, *flags[:3], str(tmp_path / "own")).data, key) == str(tmp_path / "own")


def test_a_data_path_that_does_not_exist_is_the_cloud_s(load):
    assert not Path("/cache/data").exists() and load(SSD300).data.coco_root == "coco_ori"
    assert load_config(["--model_name", "ssd300", "--coco_root", "a"], "train").data.coco_root == "a"
