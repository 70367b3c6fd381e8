"""What the tests of all folders share; makes the helpers of some importable: `from golden import Golden`."""
import gc
import signal
import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).resolve().parent / folder) for folder in ("golden", "conversion")]


def pytest_configure():
    # A job in the background of a shell ignores Ctrl-C, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def compiled_graphs_are_dropped():
    """MindSpore keeps every graph that a process compiles, with its memory: gigabytes by the end of the tests."""
    yield
    if "mindspore" in sys.modules:
        gc.collect()
        sys.modules["mindspore"].ms_memory_recycle()


@pytest.fixture(scope="module")
def pynative():
    """MindSpore computes cell by cell, so that the maps between the cells can be looked at."""
    import mindspore as ms

    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)
