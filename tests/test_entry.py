import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(body: str, *arguments):
    """A program whose main() is `body`, run through src.entry."""
    lines = "\n    ".join(body.splitlines())
    program = f"import os, sys, signal, errno\nfrom pathlib import Path\nfrom src import entry, errors\n" \
              f"def main():\n    {lines}\nsys.exit(entry.run(main))"
    return subprocess.run([sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("body, code, message", [
    ("return None", 0, ""),
    ("return 3", 3, ""),
    ("raise errors.DatasetError('a.json: broken')", 1, "error: a.json: broken\n"),
    ("raise errors.ConfigError('no such key')", 2, "error: no such key\n"),
    ("raise KeyboardInterrupt", 130, "stopped by Ctrl-C; what was saved before is complete\n"),
    ("os.kill(os.getpid(), signal.SIGTERM)", 143, "stopped by SIGTERM; what was saved before is complete\n"),
    ("raise OSError(errno.ENOSPC, 'full', 'run/a.ckpt')", 1,
     "error: no space left on the disk (run/a.ckpt); what was saved before is complete: free some space and run "
     "again\n"),
    ("import no_such_package", 1, "error: the Python package 'no_such_package' is not installed; install the "
                                  "project's requirements: pip install -r requirements.txt\n"),
])
def test_every_end_has_one_message_and_a_code(body, code, message):
    done = run(body)
    assert (done.returncode, done.stderr) == (code, message)


def test_a_defect_shows_type_message_and_own_line_and_keeps_the_trace_in_the_run_folder(tmp_path):
    done = run(f"entry.keep_traces_in(Path({str(tmp_path)!r}))\nreturn entry.run(5)")
    assert done.returncode == 1
    assert done.stderr.startswith("error: TypeError at src/entry.py:")
    assert "Traceback" not in done.stderr
    assert "Traceback" in (tmp_path / "error.log").read_text(encoding="utf-8")
    assert str(tmp_path / "error.log") in done.stderr


def test_verbose_shows_the_whole_trace():
    assert "Traceback" in run("raise errors.ConfigError('x')", "--verbose").stderr
    assert "run again with --verbose" in run("raise ValueError('x')").stderr


def test_a_reader_that_leaves_is_no_error():
    program = "import sys; from src import entry; sys.exit(entry.run(lambda: print('x' * 10**6)))"
    child = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    child.wait()


def test_the_signal_handler_is_put_back():
    from src import entry
    before = signal.getsignal(signal.SIGTERM)
    assert entry.run(lambda: 0) == 0
    assert signal.getsignal(signal.SIGTERM) is before
