"""Reads the C++ application's result files for the decoding and the metrics of `eval.py`."""
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Callable, Hashable, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np

from src.data.audit_report import ORIENTATIONS_FILE
from src.data.records import Record
from src.errors import ResultError
from src.evaluation.image_names import image_names
from src.files import parse_json, read_file
from src.ops.detections import Detections
from src.ops.nms import suppress_across_classes

OUTPUTS_FILE = "outputs.json"
REPORT_FOLDER = "postprocess"   # beside the folder of the results
TYPES = ("float32", "float16", "int32", "int64", "uint8", "bool")


class OutputFormat(NamedTuple):
    """One output of the network for one image."""

    dtype: str
    shape: tuple[int, ...]


class SeenImage(NamedTuple):
    """The size of an image as the application decoded it, and its EXIF orientation."""

    height: int
    width: int
    orientation: int


class ResultList(NamedTuple):
    """The content of outputs.json: the outputs, and the images by the stem of their file."""

    outputs: list[OutputFormat]
    images: dict[str, SeenImage]


class ResultFiles:
    """The application's result files, used like a Predictor: the network has already run.

    detector: the family's detector. folder: holds outputs.json and <image>_<output>.bin. outputs: from the model's
    description file, what the files have to be.
    agnostic_nms: IoU above which boxes suppress those of other classes, too; None = they do not.
    report_folder: where the audit of this call writes; None = postprocess/ beside the folder.
    Raises ResultError if outputs.json is missing or belongs to another model.
    """

    def __init__(self, detector: Any, folder: Path, outputs: Sequence[dict], agnostic_nms: Optional[float] = None,
                 report_folder: Optional[Path] = None):
        self.detector = detector
        self.report_folder = report_folder or folder.absolute().parent / REPORT_FOLDER
        self.agnostic_nms = agnostic_nms
        self.folder = folder
        self.outputs, self.images = read_result_list(folder / OUTPUTS_FILE)
        self.names: dict[Path, str] = {}  # of the results, by image path
        found, wanted = [list(output.shape) for output in self.outputs], [output["shape"][1:] for output in outputs]
        if found != wanted:
            raise ResultError(f"{folder / OUTPUTS_FILE}: the outputs have the shapes {found}, those of the model are "
                              f"{wanted}; give the model that the results are of")

    def check(self, records: Sequence[Record], known: Sequence[Record], drop: bool) -> None:
        """Raises ResultError unless there are complete results for all `records`, and, without drop, for no images
        except the `known` records'."""
        names = image_names(record.image_path for record in records)  # as preprocess.py calls them
        stems = Counter(path.stem for path in {record.image_path for record in known})
        for path, name in names.items():
            self.names[path] = path.stem if name not in self.images and stems[path.stem] == 1 else name
        twice = next((name for name in sorted(self.images.keys() - self.names.values()) if stems[name] > 1), None)
        if twice is not None:
            raise ResultError(f"{self.folder} has results of {twice}, and the annotations name several images of that "
                              "name in different folders; run the application on what preprocess.py writes, or "
                              "evaluate one folder at a time")
        of_known = {*image_names(record.image_path for record in known).values(), *stems}
        unknown = sorted(self.images.keys() - of_known)
        if unknown and not drop:
            raise ResultError(f"{self.folder} has results of {_first_of(unknown)}, which the annotations do not name; "
                              "give their annotations, or leave these images out with --drop true")
        missing = [path.name for record in records for path in self._paths(record)
                   if self._name(record) not in self.images or not path.is_file()]
        if missing:
            raise ResultError(f"{self.folder}: {_first_of(missing)} missing; run the application on all images")
        for record in records:
            self._check_size(record)
            for path, (dtype, shape) in zip(self._paths(record), self.outputs):
                found, wanted = path.stat().st_size, np.dtype(dtype).itemsize * int(np.prod(shape))
                if found != wanted:
                    raise ResultError(f"{path} has {found} bytes, {wanted} belong to {dtype} {list(shape)}; "
                                      "run the application again")

    def stream(self, items: Iterable, _read: Callable, _workers: int) -> Iterator[tuple[Hashable, Detections]]:
        """Yield (key, Detections) for (key, record) items in order, as `Predictor.stream` does."""
        for key, record in items:
            outputs = [read_tensor(path, *output) for path, output in zip(self._paths(record), self.outputs)]
            height, width, _ = self.images[self._name(record)]
            found = self.detector.postprocess(outputs, self.detector.geometry(height, width))
            yield key, found if self.agnostic_nms is None else suppress_across_classes(found, self.agnostic_nms)

    def _name(self, record: Record) -> str:
        return self.names.get(record.image_path, record.image_path.stem)

    def _paths(self, record: Record) -> list[Path]:
        return [self.folder / f"{self._name(record)}_{number}.bin" for number in range(len(self.outputs))]

    def _check_size(self, record: Record) -> None:
        """Raises ResultError if the application rotated an image differently from the audit's decision."""
        height, width, orientation = self.images[self._name(record)]
        if orientation != record.orientation:
            raise ResultError(f"{record.image_path.name}: the application turned the image by the EXIF orientation "
                              f"{orientation}, but its boxes refer to {record.orientation}; " + self._way_out(record))
        if (height, width) != (record.height, record.width):
            raise ResultError(f"{record.image_path.name}: the application saw {width} x {height} pixels, the audit "
                              f"{record.width} x {record.height}; run the application on the same images")

    def _way_out(self, record: Record) -> str:
        if record.orientation != 1:
            return "run the application without --ignore_orientation and without --cpu_dvpp DVPP"
        path = self.report_folder / ORIENTATIONS_FILE
        return f"run the application with --orientations_path {path}, which the audit has written"


def read_tensor(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Convert float16 to float32: an Ascend may return float16 where a CPU returns float32.

    Raises ResultError for NaN and infinity, which decoding would silently turn into fewer detections.
    """
    tensor = np.frombuffer(bytearray(read_file(path)), dtype).reshape(shape)     # which may be written into
    if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
        raise ResultError(f"{path} holds NaN or infinity: the model is damaged, or its precision too low for this "
                          "image; run the application with a higher --precision_mode")
    return tensor.astype(np.float32) if dtype == "float16" else tensor


def read_result_list(path: Path) -> ResultList:
    """The content of an outputs.json; raises ResultError if it is missing or invalid."""
    try:
        content = parse_json(read_file(path))
        outputs = [OutputFormat(output["type"], tuple(map(int, output["shape"]))) for output in content["outputs"]]
        images = {name: SeenImage(int(image["height"]), int(image["width"]), int(image["orientation"]))
                  for name, image in content["pictures"].items()}
    except FileNotFoundError:
        raise ResultError(f"{path} does not exist; --result_files_path has to name the folder that the application "
                          "wrote its results to") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ResultError(f"{path} is not a list of results ({type(error).__name__}: {error}); run the application "
                          "again") from None
    wrong = next((dtype for dtype, _ in outputs if dtype not in TYPES), None)
    if wrong is not None:
        raise ResultError(f"{path}: unknown type '{wrong}' ({', '.join(TYPES)})")
    return ResultList(outputs, images)


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
