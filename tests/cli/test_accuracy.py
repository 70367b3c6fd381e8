"""What `make demo` promises about accuracy; minutes of training, so it is left to `make nightly`."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.nightly
def test_the_demo_detects_shapes_in_pictures_it_was_not_trained_on(tmp_path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    done = subprocess.run(["bash", "scripts/demo.sh", str(tmp_path / "demo")], cwd=ROOT, env=environment, text=True,
                          capture_output=True)

    assert done.returncode == 0, done.stderr[-2000:]
    checkpoint, onnx_file = (float(value) for value in re.findall(r"^mAP: (\S+)$", done.stdout, re.MULTILINE))
    ap50 = float(re.search(r"IoU=0\.50 +\| area= +all .* = (\S+)", done.stdout)[1])
    assert checkpoint >= 0.40 and ap50 >= 0.75
    assert abs(checkpoint - onnx_file) <= 1e-4
