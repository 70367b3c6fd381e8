"""The list of promises fits the tree; tools/promises.py tries it out."""
from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools import promises as program
from tools.promises import ROOT, Mutant, page, read_promises, sample_of, verdict

PROMISES = read_promises()
MUTANTS = [mutant for promise in PROMISES for mutant in promise.mutants]


def test_every_promise_has_three_changes_that_its_tests_notice():
    assert [promise.id for promise in PROMISES] == [f"P{number}" for number in range(1, 21)]
    for promise in PROMISES:
        assert len([mutant for mutant in promise.mutants if not mutant.equivalent]) >= 3, promise.id


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.promise}-{mutant.what}")
def test_every_change_applies_and_its_tests_are_there(mutant):
    text = (ROOT / mutant.file).read_text(encoding="utf-8")
    changed = mutant.changed(text)
    assert changed is not None, f"the text to change occurs {text.count(mutant.old)} times in {mutant.file}"
    if mutant.file.endswith(".py"):
        ast.parse(changed)
    for test in mutant.tests:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert not name or name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_the_page_is_generated_from_the_list():
    assert (ROOT / program.PAGE).read_text(encoding="utf-8") == page(PROMISES), \
        "run python tools/promises.py --document"


def test_samples_change_with_the_day_and_reach_every_quick_change():
    quick = [mutant for mutant in MUTANTS if not mutant.slow and not mutant.equivalent]
    days = [sample_of(MUTANTS, 6, day) for day in range(len(quick))]
    assert days[0] != days[1] and len(days[0]) == 6
    assert {mutant.what for day in days for mutant in day} == {mutant.what for mutant in quick}


@pytest.mark.parametrize("new, said", [("a - b", "killed"), ("b + a", "SURVIVED"), ("a +", "its tests cannot run")])
def test_a_change_that_no_test_notices_is_told(tmp_path: Path, new, said):
    (tmp_path / "sums.py").write_text("def total(a, b):\n    return a + b\n")
    (tmp_path / "test_sums.py").write_text("from sums import total\ndef test_total():\n    assert total(2, 3) == 5\n")
    mutant = Mutant("P0", "wrong sums", "sums.py", "a + b", new, ["test_sums.py"])
    assert verdict(tmp_path, mutant).startswith(said)
    assert (tmp_path / "sums.py").read_text() == "def total(a, b):\n    return a + b\n"
    assert verdict(tmp_path, Mutant("P0", "", "sums.py", "a * b", new, [])).startswith("does not apply")
