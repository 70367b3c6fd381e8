"""The Python part of docs/orangepi.md runs, with a stand-in for the package that runs .om files."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = '''
import onnxruntime


class InferSession:
    def __init__(self, device_id, model_path):
        assert device_id == 0
        self.session = onnxruntime.InferenceSession(model_path.replace(".om", ".onnx"))

    def infer(self, feeds):
        return self.session.run(None, dict(zip([one.name for one in self.session.get_inputs()], feeds)))
'''


def test_the_example_prints_the_detections_of_the_chip(model, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/orangepi.md").read_text(encoding="utf-8"), re.DOTALL)
    for path in model.parent.glob("ssd.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "ais_bench" / "infer").mkdir(parents=True)
    (tmp_path / "ais_bench" / "infer" / "interface.py").write_text(STAND_IN)
    cv2.imwrite(str(tmp_path / "street.jpg"), np.full((40, 50, 3), 128, np.uint8))

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={"PYTHONPATH": f"{ROOT}:{tmp_path}", "PATH": "/usr/bin:/bin"})

    assert done.stdout.splitlines() == [
        "(1, 2, 4) differs by up to 0.0", "(1, 2, 3) differs by up to 0.0",
        "cat 0.90 at 10, 4 to 30, 20", "dog 0.80 at 25, 20 to 50, 36"], done.stderr
