"""Makes the reader of the golden data importable from every test folder: `from golden import Golden`."""
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent / "golden"))


@pytest.fixture(scope="module")
def pynative():
    """MindSpore computes cell by cell, so that the maps between the cells can be looked at."""
    import mindspore as ms

    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)
