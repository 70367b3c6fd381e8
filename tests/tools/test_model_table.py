"""docs/choosing_a_model.md has a row for every model, with the input size of its settings file."""
import re
from pathlib import Path

import pytest

from benchmarks.model_table import detector_of, input_size, task
from src.models import MODELS

PAGE = (Path(__file__).resolve().parents[2] / "docs/choosing_a_model.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)`" + r" \| ([^|]+)" * 4, PAGE, re.M)}


def test_every_model_has_a_row():
    assert list(ROWS) == list(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_has_the_task_and_the_input_of_the_model(name):
    detector, (described_task, _, _, described_input) = detector_of(name), ROWS[name]
    assert described_task == task(detector)
    assert described_input.split(",")[0].strip() == input_size(detector)
