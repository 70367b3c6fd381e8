"""Programs of the old zoo that are another program with other words: what they start, with which settings."""
from __future__ import annotations

import pytest

import dataset
import download_dataset
import eval_onnx
from src.command_line import load_config
from src.errors import UsageError


def started(monkeypatch, program, name: str, command: str, line: str):
    """The settings of the program that is started as `program.<name>`."""
    calls = []
    monkeypatch.setattr(program, name, lambda words: calls.append(words) or 0)
    assert program.main(line.split()) == 0
    return load_config(calls[0], command)


@pytest.mark.parametrize("given", ["--file_name ssd.onnx", "--file_name=ssd.onnx"])
def test_eval_onnx_evaluates_the_file_that_file_name_names(monkeypatch, given):
    config = started(monkeypatch, eval_onnx, "evaluate", "eval",
                     f"--model_name ssd_vgg16 --dataset coco --coco_root coco {given} --device_target CPU")
    assert (config.eval.checkpoint_file_path, config.data.coco_root) == ("ssd.onnx", "coco")
    assert config.export.file_name != "ssd.onnx"


def test_dataset_writes_the_mindrecord_files_of_centernet(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    line = "--coco_data_dir coco --mindrecord_dir records --mindrecord_prefix coco_det.train.mind"
    config = started(monkeypatch, dataset, "train", "train", line)
    assert config.data.only_create_dataset and config.model.model_name == "centernet_resnet50"
    assert (config.data.coco_root, config.data.mindrecord_dir) == ("coco", "records")
    other = started(monkeypatch, dataset, "train", "train", f"{line} --model_name centernet_resnet101")
    assert other.model.model_name == "centernet_resnet101"
    (tmp_path / "default_config.yaml").write_text("model_name: centernet_resnet101\n")
    assert started(monkeypatch, dataset, "train", "train", line).model.model_name == "centernet_resnet101"


def test_dataset_on_modelarts_writes_where_results_are_copied_from(monkeypatch):
    config = started(monkeypatch, dataset, "train", "train", "--enable_modelarts=True --train_url=s3://bucket/made")
    assert config.data.mindrecord_dir == "/cache/train/mindrecord"
    config = started(monkeypatch, dataset, "train", "train", "--enable_modelarts=True --output_path=/cache/out")
    assert config.data.mindrecord_dir == "/cache/out/mindrecord"


def test_download_dataset_downloads_coco_only(monkeypatch):
    config = started(monkeypatch, download_dataset, "download", "tools/download_coco",
                     "--dataset=coco --model_name ssd300 --coco_root /data/coco")
    assert config.data.coco_root == "/data/coco"
    with pytest.raises(UsageError, match="dataset is voc, but only coco can be downloaded"):
        download_dataset.main(["--model_name=ssd300", "--dataset=voc"])


@pytest.mark.parametrize("program", [eval_onnx, dataset])
def test_help_is_that_of_the_program_behind(program, capsys):
    with pytest.raises(SystemExit) as left:
        program.main(["--help"])
    assert left.value.code == 0 and "usage: python" in capsys.readouterr().out
