"""The real-time service of ModelArts: the platform loads this file from the folder `model` of a package.

tools/modelarts_package.py puts it there, with config.json, an exported model and the code. The platform gives the files
of a request as {"images": {file name: open file}}; the names are not used as paths.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from model_service.model_service import SingleNodeService  # the platform has it

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from src.api import load_detector  # noqa: E402
from src.errors import UsageError  # noqa: E402

MODEL = "detector.onnx"
FIELD = "images"
MAX_BYTES = 20 << 20        # of an image
MAX_IMAGES = 8              # in a request
MAX_PIXELS = 25_000_000     # of an image


class DetectionService(SingleNodeService):
    """Detections in the form that ModelArts shows: one list per key for an image, a list of such answers for several.

    Raises ImageError and UsageError, whose text the platform returns, for what is not an image or too much.
    """

    def __init__(self, model_name: str, model_path: str):
        super().__init__(model_name, model_path)
        self.detector = load_detector(HERE / MODEL, max_image_pixels=MAX_PIXELS)

    def _preprocess(self, data: dict[str, dict]) -> list[bytes]:
        files = [file for key, named in data.items() if key == FIELD for file in named.values()]
        if not 1 <= len(files) <= MAX_IMAGES:
            raise UsageError(f"{len(files)} images under the key '{FIELD}'; send 1 to {MAX_IMAGES}")
        contents = [file.read(MAX_BYTES + 1) for file in files]
        if any(len(content) > MAX_BYTES for content in contents):
            raise UsageError(f"an image has more than {MAX_BYTES} bytes; send a smaller one")
        return contents

    def _inference(self, images: list[bytes]) -> list:
        return self.detector.predict(images)

    def _postprocess(self, found: list) -> Any:
        answers = [{"detection_classes": one.names,
                    "detection_scores": [round(float(score), 4) for score in one.scores],
                    # y1, x1, y2, x2, the platform's order
                    "detection_boxes": [[round(float(box[side]), 2) for side in (1, 0, 3, 2)] for box in one.boxes]}
                   for one in found]
        return answers[0] if len(answers) == 1 else {"images": answers}
