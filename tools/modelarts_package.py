"""Writes the folder that a real-time service of ModelArts is made from:

    python tools/modelarts_package.py --model_path runs/voc/export/ssd.onnx --output package

`package/model` has customize_service.py, config.json, the exported model with its description file and settings, and
the code. Upload `package` to OBS and import it as a model. It takes an .onnx, which runs without MindSpore.
"""
from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.entry import run  # noqa: E402
from src.errors import UsageError  # noqa: E402
from src.evaluation.model_file import read_exported  # noqa: E402
from src.files import read_text, write_file  # noqa: E402

SERVICE = ROOT / "deploy" / "modelarts" / "customize_service.py"
NAME = "detector"       # of the model in the package; customize_service.py loads it
LEFT_OUT = {"mindspore", "tqdm", "rich"}    # what training and the terminal need


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--output", type=Path, required=True)
    own = parser.parse_args()
    print("written:", write_package(Path(own.model_path), own.output))
    return 0


def write_package(model_path: Path, output: Path) -> Path:
    """The folder `model` of the package. Raises UsageError for another kind of model, or if there is one already."""
    model = read_exported(str(model_path)).path
    if model.suffix.lower() != ".onnx":
        raise UsageError(f"{model}: the service runs .onnx files; export the checkpoint with --file_format ONNX")
    folder = output / "model"
    if folder.exists():
        raise UsageError(f"{folder} exists already; choose another --output, or delete it")
    folder.mkdir(parents=True)
    for ending in (".onnx", ".json", ".yaml"):
        beside = model.with_suffix(ending)
        if beside.is_file():
            shutil.copyfile(beside, folder / f"{NAME}{ending}")
    shutil.copyfile(SERVICE, folder / SERVICE.name)
    for part in ("src", "config"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    write_file(folder / "config.json", json.dumps(service_description(), indent=1))
    return folder


def service_description() -> dict:
    """config.json: how the service is called, and the packages it needs, in the versions that are installed here."""
    text = {"type": "array", "items": {"type": "string"}}
    numbers = {"type": "array", "items": {"type": "number"}}
    answer = {"detection_classes": text, "detection_scores": numbers,
              "detection_boxes": {"type": "array", "items": {**numbers, "minItems": 4, "maxItems": 4}}}
    return {
        "model_type": "MindSpore", "model_algorithm": "object_detection",
        "apis": [{"url": "/", "method": "post",
                  "request": {"Content-type": "multipart/form-data",
                              "data": {"type": "object", "properties": {"images": {"type": "file"}}}},
                  "response": {"Content-type": "application/json",
                               "data": {"type": "object", "required": list(answer), "properties": answer}}}],
        "dependencies": [{"installer": "pip", "packages": [
            {"package_name": name, "package_version": metadata.version(name), "restraint": "EXACT"}
            for name in required_packages()]}]}


def required_packages() -> list[str]:
    """The names in requirements.txt without those that the service does not use."""
    lines = read_text(ROOT / "requirements.txt").splitlines()
    names = [re.match(r"[\w.-]+", line)[0] for line in lines if line.strip() and not line.startswith(("#", "-"))]
    return [name for name in names if name not in LEFT_OUT]


if __name__ == "__main__":
    sys.exit(run(main))
