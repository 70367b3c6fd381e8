"""What the tests of all folders share; makes the helpers of some importable: `from golden import Golden`."""
import gc
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from src.ops import native

# What MindSpore sets when it is imported; it aborts the process when onnx was imported before it and without this.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

sys.path += [str(Path(__file__).resolve().parent / folder)
             for folder in ("golden", "conversion", "export", "family", "data", "settings", "cli")]


def pytest_configure():
    # A job in the background of a shell ignores Ctrl-C, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# What a reason to skip mentions -> what the skipped tests show, and how to run them.
WAYS_OUT = {
    r"'(torch|torchvision|timm|mindcv)": "converted weights against PyTorch's libraries themselves: make peers",
    r"C\+\+ application": "the C++ application: make cpp-deps",
    r"package is not installed|could not import": "what needs an optional package: make install",
    r"native operators": "the native operators: make native, which needs g++",
    r"\bshared\b": "trainings on real data, which is not part of the project",
}
LEFT_OUT = {"nightly": "long trainings, accuracy, rare engines: make nightly"}


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter, config):
    """The last lines name what was not tested and how to test it."""
    yield
    lines = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        way_out = next((text for words, text in WAYS_OUT.items() if re.search(words, reason)), report.nodeid)
        lines[f"{way_out} ({reason.removeprefix('Skipped: ')})"] += 1
    lines.update(text for name, text in LEFT_OUT.items() if f"not {name}" in config.option.markexpr)
    if lines:
        terminalreporter.section("not tested here")
        for line, count in sorted(lines.items()):
            terminalreporter.write_line(line if count == 1 else f"{line} [{count}]")


@pytest.fixture(scope="module", autouse=True)
def compiled_graphs_are_dropped():
    """MindSpore keeps every graph that a process compiles, with its memory: gigabytes by the end of the tests."""
    yield
    if "mindspore" in sys.modules:
        gc.collect()
        sys.modules["mindspore"].ms_memory_recycle()


@pytest.fixture(autouse=True)
def mindspores_operators():
    """A program that ran in this process before may have chosen the native ones."""
    native.leave()


@pytest.fixture(scope="module")
def pynative():
    """MindSpore computes cell by cell, so that the maps between the cells can be looked at."""
    import mindspore as ms

    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)
