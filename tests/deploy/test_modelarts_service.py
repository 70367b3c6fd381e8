"""The package for ModelArts answers as the platform calls it: on its own, with a stand-in for the platform's class."""
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = '''
class SingleNodeService:
    """What the service uses of the platform's class."""

    def __init__(self, model_name, model_path):
        self.model_name, self.model_path = model_name, model_path

    def inference(self, data):
        return self._postprocess(self._inference(self._preprocess(data)))
'''
CALL = '''
import io, json, sys
import customize_service
assert "mindspore" not in sys.modules
service = customize_service.DetectionService("detector", "/home/model")
for files in json.load(sys.stdin):
    try:
        print(json.dumps(service.inference({"images": {name: io.BytesIO(bytes(content)) for name, content in files}})))
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
assert "mindspore" not in sys.modules
'''


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("modelarts_package", ROOT / "tools" / "modelarts_package.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def package(program, model, tmp_path_factory) -> Path:
    return program.write_package(model, tmp_path_factory.mktemp("modelarts"))


def test_the_package_alone_answers_images_and_refuses_others(package, tmp_path):
    (tmp_path / "model_service").mkdir()
    (tmp_path / "model_service" / "model_service.py").write_text(PLATFORM)
    image = list(cv2.imencode(".jpg", np.full((40, 50, 3), 128, np.uint8))[1].tobytes())
    requests = [[["a.jpg", image]], [["a.jpg", image], ["b.jpg", image]], [["../../etc/passwd", list(b"text")]], [],
                [[f"{number}.jpg", image] for number in range(9)]]

    done = subprocess.run([sys.executable, "-c", CALL], input=json.dumps(requests), capture_output=True, text=True,
                          cwd=tmp_path, env={"PYTHONPATH": f"{package}:{tmp_path}", "PATH": "/usr/bin:/bin"})

    assert done.returncode == 0, done.stderr
    one, two, text, none, many = map(json.loads, done.stdout.splitlines())
    assert one == {"detection_classes": ["cat", "dog"], "detection_scores": [0.9, 0.8],
                   "detection_boxes": [[4.0, 10.0, 20.0, 30.0], [20.0, 25.0, 36.0, 50.0]]}
    assert two == {"images": [one, one]}
    assert text["error"].startswith("ImageError: image 0: is neither JPEG")
    assert none["error"].startswith("UsageError: 0 images") and many["error"].startswith("UsageError: 9 images")


def test_the_description_names_the_answer_and_the_packages(package):
    about = json.loads((package / "config.json").read_text(encoding="utf-8"))
    (api,), (pip,) = about["apis"], about["dependencies"]
    assert api["request"]["data"]["properties"] == {"images": {"type": "file"}}
    assert set(api["response"]["data"]["required"]) == {"detection_classes", "detection_scores", "detection_boxes"}
    packages = {one["package_name"]: one["package_version"] for one in pip["packages"]}
    assert {"onnxruntime", "numpy", "opencv-python-headless"} <= packages.keys() and "mindspore" not in packages


def test_other_models_and_an_existing_package_are_refused(program, model, package, tmp_path):
    with pytest.raises(UsageError, match="exists already"):
        program.write_package(model, package.parent)
    for ending in (".mindir", ".json"):
        (tmp_path / f"ssd{ending}").write_bytes(model.with_suffix(".json").read_bytes())
    with pytest.raises(UsageError, match="the service runs .onnx files"):
        program.write_package(tmp_path / "ssd.mindir", tmp_path / "package")
