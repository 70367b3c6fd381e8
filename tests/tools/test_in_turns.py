"""benchmarks/in_turns.py: its table, and when it does not start."""
from __future__ import annotations

import pytest

from benchmarks import in_turns


def side(seconds: float, cpu_seconds: float, memory: int) -> dict:
    return {"median_s": seconds, "cpu_s": cpu_seconds, "peak_memory_mb": memory}


def test_the_table_names_the_processor_and_gives_ratios():
    row = {"case": "`ssd300`, 300x300, 8", "mode": "train", "native": side(0.5, 1.0, 300),
           "mindspore": side(1.0, 4.0, 400), "torchvision": side(2.0, 3.0, 600)}
    machine = {"processor": "A 1", "avx512": True, "amx": False, "cores": 2}
    lines = in_turns.table({"machine": machine, "date": "2026-01-02", "shared": False, "rows": [row]}).splitlines()
    assert lines[0] == "A 1, AVX-512, 2 cores, 2026-01-02"
    assert lines[-1] == "| `ssd300`, 300x300, 8 | train | 0.500 | 1.000 | 2.000 | 0.25 | 0.50 | 0.25 | 0.50 |"
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_it_does_not_start_beside_other_work(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["in_turns.py"])
    monkeypatch.setattr(in_turns.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert in_turns.main() == 1
    assert "load 1.5" in capsys.readouterr().err


@pytest.mark.parametrize("case", in_turns.CASES, ids=str)
def test_settings_of_every_row_are_accepted(case):
    from src.command_line import load_config

    config = load_config(list(map(str, ["--config_path", in_turns.settings_of(case.model), *case.flags,
                                        *in_turns.size_flags(case)])), "train")
    assert config.model.model_name == case.model
