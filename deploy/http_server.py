"""Detection over HTTP: python deploy/http_server.py --model_path MODEL [--port 8080] [--host ADDRESS]

    curl --data-binary @street.jpg http://127.0.0.1:8080/predict
    curl --form images=@a.jpg --form images=@b.jpg "http://127.0.0.1:8080/predict?threshold=0.5"

An example to start from: Flask answers, waitress serves (pip install flask waitress). Requests are answered one after
the other by one model; there is no encryption and no login, so keep it behind a server that has both. Nothing of a
request is used as a path. Further flags are settings: --engine openvino, --max_image_pixels 50000000, ...
"""
from __future__ import annotations

import argparse
import math
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.api import Detector, load_detector  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import ImageError, UsageError  # noqa: E402
from src.settings.flags import split_flags  # noqa: E402

if TYPE_CHECKING:
    from flask import Flask

MAX_BYTES = 20 << 20            # of a request
MAX_IMAGES = 8                  # in a request
MAX_PIXELS = 25_000_000         # of an image; it takes 75 MB decoded
LONGEST_WAIT = 30.0             # seconds until a request is answered with 503 because others are in front of it
SLOWEST_UPLOAD = 60             # seconds without a byte until a connection is closed
WAITING_REQUESTS = 8            # that are held in memory at a time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all networks")
    parser.add_argument("--port", type=int, default=8080)
    own, rest = parser.parse_known_args()
    try:
        import flask  # noqa: F401 (make_app needs it)
        import waitress
    except ModuleNotFoundError as error:
        raise UsageError(f"the server needs the package {error.name}: pip install flask waitress") from None
    settings = {"max_image_pixels": MAX_PIXELS, **{setting.name: setting.value for setting in split_flags(rest)}}
    app = make_app(load_detector(own.model_path, **settings))
    print(f"listening on http://{own.host}:{own.port}/predict", flush=True)
    waitress.serve(app, host=own.host, port=own.port, threads=WAITING_REQUESTS, connection_limit=4 * WAITING_REQUESTS,
                   max_request_body_size=MAX_BYTES, channel_timeout=SLOWEST_UPLOAD)
    return 0


def make_app(detector: Detector, longest_wait: float = LONGEST_WAIT) -> Flask:
    """The WSGI application, for any server: GET /health and POST /predict.

    A body is an image, or a form (multipart/form-data) with up to MAX_IMAGES files `images`. The answer is
    {"images": [{"width", "height", "detections": [{"class", "score", "box": [x1, y1, x2, y2]}, ...]}, ...]}, boxes in
    pixels; with an error {"error": text}: 400 for what cannot be read, 413 for too much, 503 if others are in front.
    """
    from flask import Flask, request
    from werkzeug.exceptions import HTTPException

    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    one_at_a_time = threading.Lock()

    @app.get("/health")
    def health() -> dict:
        return {"classes": list(detector.classes), "threshold": detector.threshold.value}

    @app.post("/predict")
    def predict() -> Any:
        images = ([file.read() for file in request.files.getlist("images")]
                  if request.mimetype == "multipart/form-data" else [request.get_data()])
        threshold = score(request.args.get("threshold"))
        if not images or not all(images):
            return {"error": "no image: send it as the body, or as files named 'images' in a form"}, 400
        if len(images) > MAX_IMAGES:
            return {"error": f"{len(images)} images are more than the {MAX_IMAGES} of a request"}, 413
        if not one_at_a_time.acquire(timeout=longest_wait):
            return {"error": "busy; try again later"}, 503
        try:
            found = detector.predict(images, threshold=threshold)
        finally:
            one_at_a_time.release()
        return {"images": [{"width": one.image_size[1], "height": one.image_size[0], "detections": one.rows()}
                           for one in found]}

    def score(text: str | None) -> float | None:
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise UsageError("threshold has to be a number from 0 to 1")
        return value

    @app.errorhandler(ImageError)
    @app.errorhandler(UsageError)
    def refused(error: Exception) -> Any:
        return {"error": str(error)}, 400

    @app.errorhandler(HTTPException)
    def known(error: HTTPException) -> Any:
        return {"error": error.description}, error.code

    return app


if __name__ == "__main__":
    sys.exit(run(main))
