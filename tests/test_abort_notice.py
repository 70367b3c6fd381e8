"""What the terminal says when a library ends the process."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import ctypes, os, signal, sys
from src.abort_notice import named_if_aborted
with named_if_aborted("MindSpore read first", "copy it again"):
    pass
with named_if_aborted("MindSpore read a\\nb", "copy it again"):
    how = sys.argv[1]
    {"fault": lambda: ctypes.string_at(0), "abort": os.abort, "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
     "error": lambda: sys.exit(3), "after": lambda: None}[how]()
if how == "after":
    os.abort()
"""
FAULT = "error: this process was ended (%s) while MindSpore read a b; the file may be damaged: copy it again\n"


@pytest.mark.parametrize("how, code, said", [
    ("fault", -11, FAULT % "Segmentation fault"), ("abort", -6, FAULT % "Aborted"), ("killed", -9, ""),
    ("error", 3, ""), ("after", -6, "")])
def test_a_fault_within_names_the_file(how, code, said):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, said)
