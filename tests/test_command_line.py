import subprocess
import sys
from pathlib import Path

import pytest

from src.command_line import load_config
from src.models import FAMILIES, MODELS, config_class, detector_class
from src.settings.config import fields

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
    assert "--lr  (float; 0.25)\n      learning rate after the warm-up" in text
    assert all(f"--{key}  " in text for key in fields(config_class("ssd")))


def test_help_without_a_model_lists_models_and_shared_settings(capsys):
    with pytest.raises(SystemExit):
        load_config(["--help"], "train")
    text = capsys.readouterr().out
    assert "Models: ssd300" in text and "--epoch_size" in text and "--lr " not in text


def test_the_table_imports_neither_mindspore_nor_a_network():
    code = "import sys, src.command_line, src.entry, src.model_utils.device_adapter, src.ssd.config; " \
           "sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_says_what_the_commands_ask_before_a_network_exists(family):
    name = next(name for name, row in MODELS.items() if row.family == family)
    detector = detector_class(load_config(["--model_name", name], "train"))
    assert isinstance(detector.with_masks, bool)
    assert detector.mindrecord_prefix and detector.checkpoint_prefix
