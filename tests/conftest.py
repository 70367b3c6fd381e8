"""What the tests of all folders share; makes the reader of the golden data importable: `from golden import Golden`."""
import gc
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "golden"))


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
