"""Detect objects in images: python predict.py --model_path FILE --img_path IMAGE|FOLDER|LIST [--key value ...]"""
from __future__ import annotations

import contextlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, Optional

from tqdm import tqdm

from src.api import Detector, Prediction, open_detector
from src.command_line import load_config
from src.data.any_image import ENDINGS
from src.engine.run_folder import results_folder
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import UsageError
from src.evaluation.model_file import check_model_path
from src.evaluation.predictions import json_rle
from src.files import read_text

RESULTS = "predictions.json"
LONGEST_NAME = 150   # bytes of an image's name in the name of its drawn copy; file systems allow 255 in all


def main(argv: Optional[list[str]] = None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "predict")
    path = check_model_path(config.eval.checkpoint_file_path)
    images = find_images(config.eval.img_path)
    folder = results_folder(config, path, "predict", RESULTS)
    keep_traces_in(folder)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        unreadable = predict(open_detector(config, path), images, folder)
    for message in unreadable:
        print(f"not read: {message}", file=sys.stderr)
    return 1 if unreadable else 0


def find_images(img_path: Optional[str]) -> list[Path]:
    """The images that img_path means: itself, those of a folder and the folders in it, or the lines of a text file.

    Folders with results of this program are left out.
    """
    if not img_path:
        raise UsageError("no image given; add --img_path IMAGE, FOLDER or LIST.txt")
    path = Path(img_path)
    if path.is_dir():
        found = sorted(Path(folder, name) for folder, _, names in os.walk(path) if RESULTS not in names
                       for name in names if Path(name).suffix.lower() in ENDINGS)
        if not found:
            raise UsageError(f"{path} holds no image ({', '.join(ENDINGS)})")
        return found
    if not path.is_file():
        raise UsageError(f"{path} does not exist; check --img_path")
    if path.suffix.lower() in ENDINGS:
        return [path]
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise UsageError(f"{path} is neither an image ({', '.join(ENDINGS)}) nor a list of images") from None
    found = [path.parent / line.strip() for line in lines if line.strip()]
    missing = [item for item in found if not item.is_file()]
    if missing or not found:
        raise UsageError(f"{path}: {missing[0]} does not exist" if missing else f"{path} lists no image")
    return found


def drawn_names(paths: list[Path]) -> list[str]:
    """The names of the drawn copies: number and name of the image, with that of its folder where two names are equal;
    of any length and any bytes the system can write."""
    stems = Counter(path.stem for path in paths)
    names = []
    for number, path in enumerate(paths):
        name = path.stem if stems[path.stem] == 1 or not path.parent.name else f"{path.parent.name}_{path.stem}"
        readable = name.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore")
        names.append(f"{number:04d}_{readable}.jpg")
    return names


@contextlib.contextmanager
def result_file(path: Path) -> Iterator[Callable[[dict], None]]:
    """A function that writes one more row of a JSON list to the disk. Whatever ends the block, Ctrl-C included, the
    rows so far become the file."""
    unfinished, count = path.with_name(path.name + ".tmp"), 0
    with open(unfinished, "w", encoding="utf-8") as file:
        def write(row: dict) -> None:
            nonlocal count
            file.write((",\n" if count else "[\n") + json.dumps(row))
            count += 1

        try:
            yield write
        finally:
            file.write("\n]\n" if count else "[]\n")
            file.flush()
            os.replace(unfinished, path)


def predict(detector: Detector, paths: list[Path], folder: Path) -> list[str]:
    """Write a drawn copy of every image and predictions.json; returns a message for each unreadable image."""
    threshold, names = detector.threshold, drawn_names(paths)
    unreadable: list[str] = []
    images, boxes, empty, highest = 0, 0, 0, 0.0
    with result_file(folder / RESULTS) as write, \
            tqdm(total=len(paths), unit="image", file=sys.stderr,
                 mininterval=1 if sys.stderr.isatty() else 30) as bar:

        def skip(_number: int, error: Exception) -> None:
            unreadable.append(str(error))
            bar.update()

        for number, image, found in detector.stream(paths, skip):
            write({"file": str(paths[number]), "detections": rows_of(found)})
            shown = found.above(threshold.value)
            detector.show(image, shown, folder / names[number])
            images, boxes, empty = images + 1, boxes + len(shown), empty + (len(shown) == 0)
            highest = max(highest, float(found.scores.max(initial=0)))
            bar.update()
    print(f"{images} images, {boxes} boxes drawn from score {threshold}; {empty} images without any: {folder}")
    if images and not boxes:
        print(f"the highest score of all detections is {highest:.3f}; --report_score_threshold draws from a lower one")
    return unreadable


def rows_of(found: Prediction) -> list[dict]:
    """The detections of an image as predictions.json has them."""
    return [{"class": name, "score": round(float(score), 4), "box": [round(float(side), 2) for side in box],
             **({"mask": json_rle(found.runs[index])} if found.runs is not None else {})}
            for index, (name, score, box) in enumerate(zip(found.names, found.scores, found.boxes))]


if __name__ == "__main__":
    sys.exit(run(main))
