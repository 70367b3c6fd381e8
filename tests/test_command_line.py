import re
import subprocess
import sys
from pathlib import Path

import pytest

from src.command_line import load_config
from src.errors import ConfigError, UsageError
from src.models import FAMILIES, MODELS, config_class, detector_class, library_config
from src.settings.config import fields
from src.settings.help import PROGRAMS, SHOWN_AS

ROOT = Path(__file__).resolve().parents[1]


def test_every_model_has_a_file_and_a_family():
    for name, row in MODELS.items():
        assert load_config(["--model_name", name], "train").model.model_name == name
        assert row.family in FAMILIES


def test_help_shows_type_value_of_the_chosen_file_and_description(capsys):
    with pytest.raises(SystemExit) as end:
        load_config(["--model_name", "ssd300", "--lr", "0.25", "--help"], "eval")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "usage: python eval.py" in text
    listed = text[text.index("settings:"):]
    assert listed.index("--model_path") < listed.index("--config_path") < listed.index("--eval_split")
    assert "--epoch_size" not in text and text.count("\n") < 70
    with pytest.raises(SystemExit):
        load_config(["--model_name", "ssd300", "--lr", "0.25", "--help", "all"], "eval")
    text = capsys.readouterr().out
    names = {SHOWN_AS.get(key, key) for key in fields(config_class("ssd"))}
    assert all(re.search(rf"--{name}\b", text) for name in names)
    assert re.search(r"--lr +learning rate after the warm-up.*\[float; 0.25\]", text)


@pytest.mark.parametrize("command", PROGRAMS)
@pytest.mark.parametrize("more", [[], ["all"]])
def test_help_fits_a_terminal_and_begins_with_an_example(command, more, capsys):
    for model in ([], ["--model_name", "mask_rcnn_resnet50"]):
        with pytest.raises(SystemExit):
            load_config([*model, "--help", *more], command)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 120 and lines[5].startswith(f"  python {command}.py")
        assert max(len(line) for line in lines if not line.startswith("  python ")) <= 100


def test_an_unknown_flag_is_named_before_a_missing_model():
    with pytest.raises(ConfigError, match="unknown key 'confg_path'; did you mean config_path"):
        load_config(["--confg_path", "x.yaml"], "train")
    with pytest.raises(UsageError, match="no model given.*for example: python train.py --config_path"):
        load_config(["--epoch_size", "3", "--lr_type", "cosine"], "train")


def test_a_run_folder_stands_for_its_settings(tmp_path):
    load_config(["--model_name", "ssd300", "--lr", "0.125"], "train").write(tmp_path / "config.yaml")
    assert load_config(["--model_path", str(tmp_path)], "eval").optimizer.lr == 0.125
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(UsageError, match="absent does not exist; check --model_path"):
        load_config(["--model_path", str(tmp_path / "absent")], "eval")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.onnx").touch()
    with pytest.raises(UsageError, match="no settings .* lie beside .*x.onnx; add --config_path"):
        load_config(["--model_path", str(tmp_path / "other" / "x.onnx")], "eval")


def test_help_without_a_model_lists_models_and_shared_settings(capsys):
    with pytest.raises(SystemExit):
        load_config(["--help"], "train")
    text = capsys.readouterr().out
    assert "models: ssd300" in text and "--epoch_size" in text and "--lr " not in text


def test_the_table_imports_neither_mindspore_nor_a_network():
    code = "import sys, src.command_line, src.entry, src.model_utils.device_adapter, src.ssd.config; " \
           "sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


ZOO_NAMES = {"ssd": ("ssd.mindrecord", "ssd"), "centernet": ("coco_det.train.mind", "checkpoint_centernet"),
             "faster_rcnn": ("FasterRcnn.mindrecord", "faster_rcnn"), "mask_rcnn": ("MaskRcnn.mindrecord", "mask_rcnn")}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_the_commands_ask_before_a_network_exists(family):
    name = next(name for name, row in MODELS.items() if row.family == family)
    detector = detector_class(load_config(["--model_name", name], "train"))
    assert detector.with_masks is (family == "mask_rcnn")
    assert (detector.mindrecord_prefix, detector.checkpoint_prefix) == ZOO_NAMES[family]


@pytest.mark.parametrize("program, key", [("preprocess", "preprocess_path"), ("postprocess", "result_files_path")])
def test_result_path_keeps_its_meaning_in_each_program(tmp_path, program, key):
    """The zoo has one name for the outputs of preprocess.py, the inputs of postprocess.py and the results of the
    others."""
    def read(*flags) -> dict:
        return load_config(["--model_name", "ssd300", *flags], program).eval.model_dump()

    untouched = read()
    assert read("--result_path", "here") == {**untouched, key: "here"} == read(f"--{key}", "here")
    assert load_config(["--model_name", "ssd300", "--result_path", "here"], "eval").eval.model_dump() == {
        **untouched, "result_path": "here"}
    old, today = tmp_path / "old.yaml", tmp_path / "today.yaml"
    old.write_text("model_name: ssd300\nresult_path: there\n", encoding="utf-8")
    assert getattr(load_config(["--config_path", str(old)], program).eval, key) == "there"
    old.write_text("model_name: ssd300\nresult_path: ''\n", encoding="utf-8")
    assert getattr(load_config(["--config_path", str(old)], program).eval, key) == untouched[key]
    load_config(["--model_name", "ssd300", "--result_path", "of eval"], "eval").write(today)
    assert getattr(load_config(["--config_path", str(today)], program).eval, key) == untouched[key]
    with pytest.raises(ConfigError, match="contradicts"):
        read("--result_path", "here", f"--{key}", "there")


def test_the_file_that_the_zoo_s_programs_took_by_themselves_is_taken(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default_config.yaml").write_text("backbone: res2net_101\nepoch_size: 3\n")
    config = load_config(["--pre_trained", "a.ckpt"], "train")
    assert (config.model.model_name, config.train.epoch_size) == ("faster_rcnn_res2net101", 3)
    assert f"settings: {tmp_path}/default_config.yaml" in capsys.readouterr().out
    assert load_config(["--model_name", "ssd300"], "train").model.model_name == "ssd300"


@pytest.mark.parametrize("model, library, name", [
    ("ssd300", "tensorflow", "ssd300_mobilenet_v2_tensorflow"), ("ssd_vgg16", "torchvision", "ssd_vgg16_torchvision"),
    ("faster_rcnn_resnet50", "mmdet", "faster_rcnn_resnet50_mmdet"),
    ("faster_rcnn_resnet101", "detectron2", "faster_rcnn_resnet50_detectron2"),
    ("mask_rcnn_resnet101", "torchvision", "mask_rcnn_resnet50_torchvision"),
    ("centernet_resnet101", "centernet", "centernet_resnet101_authors"), ("ssd300", "zoo", None)])
def test_a_detector_of_another_library_has_a_settings_file(model, library, name):
    path = library_config(model, library)
    assert (path and path.stem) == name


@pytest.mark.parametrize("program", ["train", "eval", "export", "predict"])
def test_a_name_that_is_too_long_for_a_file_is_one_that_does_not_exist(program):
    flag = "--pre_trained" if program == "train" else "--model_path"
    command = [sys.executable, str(ROOT / f"{program}.py"), "--model_name", "ssd300", flag, "9" * 300]
    result = subprocess.run([*command, "--img_path", "a.jpg"], capture_output=True, text=True)
    assert result.returncode == 2 and "9" * 300 in result.stderr and "Traceback" not in result.stderr
