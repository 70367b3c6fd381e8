"""The HTTP example answers images, and refuses everything else without failing."""
from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import cv2
import numpy as np
import pytest

from src.api import load_detector

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "deploy" / "http_server.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("http_server", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def served(program, model):
    """served(path, body, headers) -> (status, what the json says), from a server on this machine."""
    pytest.importorskip("flask")
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, program.make_app(load_detector(model, max_image_pixels=10_000)), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(path: str, body: bytes | None = None, **headers: str) -> tuple:
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", body,
                                         {name.replace("_", "-"): value for name, value in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)

    yield ask
    server.shutdown()


def jpeg(height: int = 40, width: int = 50) -> bytes:
    return cv2.imencode(".jpg", np.full((height, width, 3), 128, np.uint8))[1].tobytes()


def form(*files: bytes, name: str = "images", filename: str = "a.jpg") -> tuple[bytes, str]:
    """Body and content type of a form with these files."""
    parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n'.encode() + file
             for file in files]
    return b"\r\n".join([*parts, b"--x--", b""]), "multipart/form-data; boundary=x"


CAT, DOG = ({"class": "cat", "score": 0.9, "box": [10.0, 4.0, 30.0, 20.0]},
            {"class": "dog", "score": 0.8, "box": [25.0, 20.0, 50.0, 36.0]})


def test_an_image_as_the_body_is_answered(served):
    assert served("/predict", jpeg(), Content_Type="image/jpeg") == (
        200, {"images": [{"width": 50, "height": 40, "detections": [CAT, DOG]}]})
    # What curl --data-binary says about its body.
    status, answer = served("/predict?threshold=0.85", jpeg(), Content_Type="application/x-www-form-urlencoded")
    assert status == 200 and answer["images"][0]["detections"] == [CAT]


def test_images_of_a_form_are_answered_in_their_order(served):
    body, kind = form(jpeg(), jpeg(20, 100))
    status, answer = served("/predict", body, Content_Type=kind)
    assert status == 200 and [(one["height"], one["width"]) for one in answer["images"]] == [(40, 50), (20, 100)]


def test_the_name_of_a_file_is_never_a_path(served, tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    body, kind = form(b"no image", filename=str(tmp_path / "a.jpg"))
    status, answer = served("/predict", body, Content_Type=kind)
    assert status == 400 and "is neither JPEG nor PNG nor BMP" in answer["error"]
    assert str(tmp_path) not in answer["error"]


@pytest.mark.parametrize("body, words", [
    (b"", "no image"), (b"\xff\xd8 no image", "has no readable header"), (jpeg()[:400], "image 0: "),
    (jpeg(100, 101), "101 x 100 is more than 10000 pixels"), (b"../../etc/passwd", "is neither JPEG nor PNG nor BMP")])
def test_what_is_no_image_is_refused(served, body, words):
    status, answer = served("/predict", body, Content_Type="image/jpeg")
    assert status == 400 and words in answer["error"]


@pytest.mark.parametrize("threshold", ["high", "nan", "2", "-1", ""])
def test_a_threshold_that_is_none_is_refused(served, threshold):
    assert served(f"/predict?threshold={threshold}", jpeg(), Content_Type="image/jpeg") == (
        400, {"error": "threshold has to be a number from 0 to 1"})


def test_too_many_bytes_and_too_many_images_are_refused(served, program, monkeypatch):
    assert served("/predict", bytes(program.MAX_BYTES + 1), Content_Type="image/jpeg")[0] == 413
    monkeypatch.setattr(program, "MAX_IMAGES", 2)
    body, kind = form(jpeg(), jpeg(), jpeg())
    assert served("/predict", body, Content_Type=kind) == (413, {"error": "3 images are more than the 2 of a request"})


def test_a_form_without_images_is_refused(served):
    body, kind = form(jpeg(), name="other")
    assert served("/predict", body, Content_Type=kind)[0] == 400


def test_other_places_and_methods_are_answered_in_json(served):
    assert served("/health") == (200, {"classes": ["cat", "dog"], "threshold": 0.3})
    assert served("/predict")[0] == 405 and served("/../../etc/passwd")[0] == 404


def test_requests_that_would_wait_too_long_are_told_so(program):
    pytest.importorskip("flask")
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def predict(self, _images, **_):
            entered.set()
            leave.wait(30)
            return []

    client = program.make_app(Slow(), longest_wait=0.05).test_client()
    first = threading.Thread(target=client.post, args=["/predict"], kwargs={"data": jpeg()})
    first.start()
    entered.wait(30)
    answer = client.application.test_client().post("/predict", data=jpeg())
    leave.set()
    first.join()
    assert (answer.status_code, answer.json) == (503, {"error": "busy; try again later"})


def test_without_its_packages_the_server_says_what_to_install(tmp_path):
    (tmp_path / "waitress.py").write_text("raise ModuleNotFoundError(name='waitress')")
    code = ("import sys, runpy; sys.path.insert(0, sys.argv[1]); program = sys.argv[2];"
            "sys.argv = [program, '--model_path', 'a.onnx']; runpy.run_path(program, run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(PROGRAM)], capture_output=True, text=True,
                          cwd=tmp_path)
    assert done.returncode == 2 and "the server needs the package waitress: pip install flask waitress" in done.stderr
