"""What the C++ application wrote, back into the decoding and the metrics of `eval.py`."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Callable, Iterable

import numpy as np

from src.errors import ResultError

ABOUT = "outputs.json"
TYPES = ("float32", "float16", "int32", "int64", "uint8", "bool")


class ResultFiles:
    """The application's result files in the place of a Predictor: its network has run already.

    detector: the family's detector. folder: holds outputs.json and <picture>_<output>.bin. outputs: of the description
    beside the model, what the files have to be. Raises ResultError when outputs.json is missing or of another model.
    """

    def __init__(self, detector, folder: Path, outputs: list):
        self.detector = detector
        self.folder = folder
        self.outputs, self.pictures = read_about(folder / ABOUT)
        wanted = [output["shape"][1:] for output in outputs]
        if [list(shape) for _, shape in self.outputs] != wanted:
            raise ResultError(f"{folder / ABOUT}: the outputs have the shapes {[shape for _, shape in self.outputs]}, "
                              f"those of the model are {wanted}; give the model that the results are of")

    def check(self, records: Iterable, known: Iterable, drop: bool) -> None:
        """Raises ResultError unless there are whole results of all `records`, and, without drop, of no other pictures
        than the `known` records'."""
        names = {}
        for record in known:
            other = names.setdefault(record.image_path.stem, record)
            if other.image_path != record.image_path:
                raise ResultError(f"{other.image_path} and {record.image_path} differ in folder or ending only, so "
                                  "their results have the same names; evaluate them one folder at a time")
        unknown = sorted(self.pictures.keys() - names.keys())
        if unknown and not drop:
            raise ResultError(f"{self.folder} has results of {some(unknown)}, which the annotations do not name; "
                              "give their annotations, or leave these pictures out with --drop true")
        missing = [path.name for record in records for path in self._paths(record)
                   if record.image_path.stem not in self.pictures or not path.is_file()]
        if missing:
            raise ResultError(f"{self.folder}: {some(missing)} missing; run the application on all pictures")
        for record in records:
            self._check_size(record)
            for path, (kind, shape) in zip(self._paths(record), self.outputs):
                found, wanted = path.stat().st_size, np.dtype(kind).itemsize * int(np.prod(shape))
                if found != wanted:
                    raise ResultError(f"{path} has {found} bytes, {wanted} belong to {kind} {list(shape)}; "
                                      "run the application again")

    def stream(self, items: Iterable, _read: Callable, _workers: int):
        """Yield (key, Detections) for (key, record) items in order, as `Predictor.stream` does."""
        for key, record in items:
            outputs = [read_tensor(path, kind, shape) for path, (kind, shape) in zip(self._paths(record), self.outputs)]
            height, width, _ = self.pictures[record.image_path.stem]
            yield key, self.detector.postprocess(outputs, self.detector.geometry(height, width))

    def _paths(self, record) -> list:
        return [self.folder / f"{record.image_path.stem}_{number}.bin" for number in range(len(self.outputs))]

    def _check_size(self, record) -> None:
        """The boxes of a picture refer to the size its annotation declares; see `decode_image`."""
        height, width, orientation = self.pictures[record.image_path.stem]
        if 0 in (record.height, record.width):
            return
        if (height, width) != (record.height, record.width):
            how = "without" if orientation == 1 else "with"
            raise ResultError(f"{record.image_path.name}: the application saw {width} x {height} pixels, the "
                              f"annotation declares {record.width} x {record.height}; if the picture has an EXIF "
                              f"orientation, run the application {how} --ignore_orientation")
        if orientation in (2, 3, 4) or orientation > 4 and height == width:
            raise ResultError(f"{record.image_path.name}: the application turned the picture by its EXIF orientation "
                              f"{orientation}, eval.py does not since the declared size is that of the stored picture; "
                              "run the application with --ignore_orientation")


def read_tensor(path: Path, kind: str, shape: tuple) -> np.ndarray:
    """Half precision, which Ascend may give where a CPU gives float32, comes back as float32."""
    tensor = np.fromfile(path, kind).reshape(shape)
    return tensor.astype(np.float32) if kind == "float16" else tensor


def read_about(path: Path) -> tuple:
    """((type, shape) of the outputs of one picture, name -> (height, width, orientation)) of an outputs.json."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        outputs = [(output["type"], tuple(map(int, output["shape"]))) for output in content["outputs"]]
        pictures = {name: (int(picture["height"]), int(picture["width"]), int(picture["orientation"]))
                    for name, picture in content["pictures"].items()}
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist; --result_path has to name the folder that the application wrote "
                          "its results to") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise ResultError(f"{path} is not a list of results ({type(error).__name__}: {error}); run the application "
                          "again") from None
    wrong = next((kind for kind, _ in outputs if kind not in TYPES), None)
    if wrong is not None:
        raise ResultError(f"{path}: unknown type '{wrong}' ({', '.join(TYPES)})")
    return outputs, pictures


def some(names: list) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
