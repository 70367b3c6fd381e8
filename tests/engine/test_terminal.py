"""Programs of their own, since the terminal of a test belongs to pytest."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, subprocess, sys, warnings
from pathlib import Path
from src.engine.terminal import quiet_terminal
from src.errors import UsageError

try:
    with quiet_terminal(Path(sys.argv[1]), verbose=sys.argv[2] == "verbose"):
        print("python out")
        print("python err", file=sys.stderr)
        os.write(1, b"c out\\n")
        os.write(2, b"c err\\n")
        subprocess.run([sys.executable, "-c", "import sys; print('child out'); print('child err', file=sys.stderr)"])
        warnings.warn("a python warning")
        import mindspore
        mindspore.log.warning("a mindspore warning")
        print("without end of line", end="")
        if sys.argv[3] == "fail":
            raise KeyError("inside")
        if sys.argv[3] == "refuse":
            raise UsageError("inside")
except (KeyError, UsageError):
    print("caught")
os.write(1, b"c out later\\n")
os.write(2, b"c err later\\n")
warnings.warn("a later python warning")
mindspore.log.warning("a later mindspore warning")
print("python out later")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run("quiet" or "verbose", "fail" or "pass") -> (stdout, stderr, log file)."""
    done = {}

    def run_once(verbose, end):
        if (verbose, end) not in done:
            log = tmp_path_factory.mktemp("run") / "folder" / "mindspore.log"
            child = subprocess.run([sys.executable, "-c", PROGRAM, str(log), verbose, end], cwd=ROOT,
                                   capture_output=True, text=True)
            done[verbose, end] = child.stdout, child.stderr, log
        return done[verbose, end]

    return run_once


@pytest.mark.parametrize("end", ["pass", "fail"])
def test_what_is_not_python_goes_to_the_log(run, end):
    out, err, log = run("quiet", end)
    during = out[:out.index("without end of line")]
    assert during.splitlines() == ["python out"]
    assert err.startswith("python err\n")
    text = log.read_text(encoding="utf-8")
    for line in ("c out\n", "c err\n", "child out\n", "child err\n", "a python warning", "a mindspore warning"):
        assert line in text and line not in out + err
    assert "python out" not in text and "python err" not in text


@pytest.mark.parametrize("end", ["pass", "fail"])
def test_afterwards_everything_is_as_before(run, end):
    out, err, log = run("quiet", end)
    assert "c out later\n" in out and "python out later\n" in out and "c err later\n" in err
    assert "a later python warning" in err
    assert not re.search("(out|err|python warning) later|later python", log.read_text(encoding="utf-8"))
    assert ("caught" in out) == (end == "fail")
    assert "Traceback" not in err and "Logging error" not in err


def test_verbose_changes_nothing(run):
    out, err, log = run("verbose", "pass")
    assert not log.exists()
    assert "c out\n" in out and "child out\n" in out and "c err\n" in err and "a mindspore warning" in out + err


def test_what_is_refused_leaves_the_log_as_it_was(tmp_path):
    log = tmp_path / "mindspore.log"
    for before in (None, "of an earlier run\n"):
        if before:
            log.write_text(before)
        child = subprocess.run([sys.executable, "-c", PROGRAM, str(log), "quiet", "refuse"], cwd=ROOT,
                               capture_output=True, text=True)
        assert "caught" in child.stdout
        assert (log.read_text() if log.exists() else None) == before
