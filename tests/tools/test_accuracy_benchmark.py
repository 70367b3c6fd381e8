"""benchmarks/accuracy.py: what is measured once is not measured again, and the table says how far seeds differ."""
from __future__ import annotations

import json

import pytest

from benchmarks import accuracy
from src.command_line import load_config

TABLE = """ Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.250
 Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.750
"""


@pytest.fixture
def calls(monkeypatch):
    """The programs that are called, without running them; a training leaves its log."""
    made = []

    def call(program, *flags):
        made.append((program, [str(flag) for flag in flags]))
        if program == "train.py":
            room = flags[flags.index("--output_path") + 1]
            room.mkdir(parents=True)
            (room / "metrics.jsonl").write_text('{"step": 40, "loss": 1.0}\n{"epoch": 2, "step": 40}\n')
        return TABLE

    monkeypatch.setattr(accuracy, "call", call)
    monkeypatch.setattr(accuracy, "draw_shapes", lambda *_, **__: None)
    return made


def start(monkeypatch, folder, *flags):
    monkeypatch.setattr("sys.argv", ["accuracy.py", "--output_path", str(folder), *flags])
    assert accuracy.main() == 0


def test_each_training_is_measured_once_and_the_table_has_mean_and_spread(calls, tmp_path, monkeypatch, capsys):
    start(monkeypatch, tmp_path, "--sets", "large", "--lr", "0.01")
    assert [program for program, _ in calls] == ["train.py", "eval.py"] and "--lr" in calls[0][1]
    assert "| ssd | large | no | 1 | 40 |" in capsys.readouterr().out

    with (tmp_path / "results.jsonl").open("a") as file:
        file.write(json.dumps({"family": "ssd", "data": "large", "seed": 2, "steps": 40, "seconds": 1, "AP": 0.35,
                               "AP50": 0.75}) + '\n{"family": "ssd", "da')     # the last line was cut off
    start(monkeypatch, tmp_path, "--sets", "large", "--seeds", "1", "2")
    printed = capsys.readouterr().out

    assert len(calls) == 2 and "| 0.300 ± 0.050 | 0.750 ± 0.000 |" in printed
    start(monkeypatch, tmp_path, "--sets", "elongated")     # behind the line that was cut off
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 3


def test_bccd_needs_its_folder_and_is_measured_on_its_test_split(calls, tmp_path, monkeypatch):
    with pytest.raises(accuracy.UsageError, match="needs --voc_root"):
        start(monkeypatch, tmp_path, "--sets", "bccd")
    start(monkeypatch, tmp_path, "--sets", "bccd", "--voc_root", str(tmp_path))
    assert calls[1][1][calls[1][1].index("--eval_split") + 1] == "test"


def test_quick_is_two_sets_and_two_families_of_a_few_epochs(calls, tmp_path, monkeypatch):
    start(monkeypatch, tmp_path, "--quick")
    trainings = [flags for program, flags in calls if program == "train.py"]
    assert len(trainings) == 4 and all(flags[flags.index("--epoch_size") + 1] == "5" for flags in trainings)


@pytest.mark.parametrize("family", accuracy.FAMILIES)
def test_the_settings_of_every_family_are_settings(family):
    config = load_config([*accuracy.FAMILIES[family], "--auto", "True", "--feature_extractor_base_param", "none"],
                         "train")
    assert config.train.auto
