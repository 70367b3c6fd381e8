"""Detect objects: python predict.py --model_path FILE --img_path IMAGE|FOLDER|LIST|VIDEO|CAMERA [--key value ...]"""
from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional, Union

from tqdm import tqdm

from src.api import Detector, Prediction, open_detector
from src.command_line import load_config
from src.data.any_image import ENDINGS
from src.data.video import ENDINGS as VIDEO_ENDINGS
from src.data.video import Video, video_file
from src.engine.run_folder import results_folder
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import UsageError
from src.evaluation.model_file import check_model_path
from src.files import read_text
from src.printable import counted

RESULTS = "predictions.json"
END_OF_LIST = b"\n]\n"
LONGEST_NAME = 150   # bytes of an image's name in the name of its drawn copy; file systems allow 255 in all


def main(argv: Optional[list[str]] = None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "predict")
    path = check_model_path(config.eval.checkpoint_file_path)
    source = video_source(config.eval.img_path)
    video, images = (Video(source), []) if source is not None else (None, find_images(config.eval.img_path))
    folder = results_folder(config, path, "predict", RESULTS)
    keep_traces_in(folder)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        detector = open_detector(config, path)
        unreadable = predict(detector, images, folder) if video is None else predict_video(detector, video, folder)
    for message in unreadable:
        print(f"not read: {message}", file=sys.stderr)
    return 1 if unreadable else 0


def video_source(img_path: Optional[str]) -> Union[Path, int, None]:
    """The video file or the index of the camera in img_path; None if it names images."""
    if not img_path or os.path.isdir(img_path):
        return None
    if img_path.isdecimal() and len(img_path) < 4 and not os.path.exists(img_path):
        return int(img_path)
    return Path(img_path) if Path(img_path).suffix.lower() in VIDEO_ENDINGS and os.path.isfile(img_path) else None


def find_images(img_path: Optional[str]) -> list[Path]:
    """The images in img_path: a file, a folder with the folders in it, the lines of a text file, or several of these,
    separated by commas.

    Result folders of this program and hidden files are left out; the number of files of other kinds is printed.
    """
    if not img_path:
        raise UsageError("no image given; add --img_path IMAGE, FOLDER, LIST.txt, VIDEO or the number of a camera")
    path = Path(img_path)
    if "," in img_path and not os.path.exists(path):
        return [image for part in img_path.split(",") if part.strip() for image in find_images(part.strip())]
    if os.path.isdir(path):
        files = sorted(Path(folder, name) for folder, _, names in os.walk(path) if RESULTS not in names
                       for name in names if not name.startswith("."))
        found = [file for file in files if file.suffix.lower() in ENDINGS]
        if not found:
            raise UsageError(f"{path} holds no image ({', '.join(ENDINGS)})")
        others = Counter(file.suffix.lower() or "no ending" for file in set(files).difference(found))
        if others:
            counts = ", ".join(f"{kind} ({count})" for kind, count in sorted(others.items()))
            print(f"left out, not read as images: {counts}")
        return found
    if not os.path.isfile(path):
        raise UsageError(f"{path} does not exist; check --img_path")
    if path.suffix.lower() in ENDINGS:
        return [path]
    try:
        lines = read_text(path).splitlines()
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise UsageError(f"{path} is neither an image ({', '.join(ENDINGS)}) nor a list of images") from None
    found = [path.parent / line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    missing = [item for item in found if not os.path.isfile(item)]
    if missing or not found:
        raise UsageError(f"{path}: {missing[0]} does not exist" if missing else f"{path} lists no image")
    return found


def drawn_names(paths: list[Path]) -> list[str]:
    """The names of the drawn copies: number and name of the image, with the name of its folder if two names are equal.
    Works for names of any length and with any bytes."""
    stems = Counter(path.stem for path in paths)
    names = []
    for number, path in enumerate(paths):
        name = path.stem if stems[path.stem] == 1 or not path.parent.name else f"{path.parent.name}_{path.stem}"
        readable = name.encode("utf-8", "replace")[:LONGEST_NAME].decode("utf-8", "ignore")
        names.append(f"{number:04d}_{readable}.jpg")
    return names


@contextlib.contextmanager
def result_file(path: Path) -> Iterator[Callable[[dict], None]]:
    """A function that writes one more row of a JSON list to the disk.

    The rows so far become the file whatever ends the block: Ctrl-C, or a full disk, which cannot take the next row. So
    the list on the disk always has its end, which a row is written in front of.
    """
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "wb", buffering=0) as file:
        file.write(b"[" + END_OF_LIST)
        end = 1

        def write(row: dict) -> None:
            nonlocal end
            content = (b",\n" if end > 1 else b"\n") + json.dumps(row).encode()
            file.seek(end)
            try:
                if file.write(content + END_OF_LIST) < len(content) + len(END_OF_LIST):
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))
            except OSError:
                file.seek(end)
                file.write(END_OF_LIST)     # in the place where it was, which needs no room
                file.truncate()
                raise
            end += len(content)

        try:
            yield write
        finally:
            os.replace(unfinished, path)


@dataclass
class Tally:
    """The summary that predict.py prints at its end."""

    images: int = 0
    boxes: int = 0
    empty: int = 0
    highest: float = 0.0

    def add(self, found: Prediction, shown: Prediction) -> None:
        self.images, self.boxes, self.empty = self.images + 1, self.boxes + len(shown), self.empty + (not len(shown))
        self.highest = max(self.highest, float(found.scores.max(initial=0)))

    def say(self, what: str, detector: Detector, place: Path) -> None:
        print(f"{counted(self.images, what)}, {counted(self.boxes, 'box')} drawn from score {detector.threshold}; "
              f"{counted(self.empty, what)} without any: {place}")
        if self.images and not self.boxes:
            print(f"the highest score of all detections is {self.highest:.3f}; --report_score_threshold draws from a "
                  "lower one")


def progress_bar(total: Optional[int], unit: str) -> tqdm:
    return tqdm(total=total, unit=unit, file=sys.stderr, mininterval=1 if sys.stderr.isatty() else 30)


def predict(detector: Detector, paths: list[Path], folder: Path) -> list[str]:
    """Write a drawn copy of every image and predictions.json; returns a message for each unreadable image."""
    names, tally = drawn_names(paths), Tally()
    unreadable: list[str] = []
    with result_file(folder / RESULTS) as write, progress_bar(len(paths), "image") as bar:

        def skip(_number: int, error: Exception) -> None:
            unreadable.append(str(error))
            bar.update()

        for number, image, found in detector.stream(paths, skip):
            write({"file": str(paths[number]), "detections": found.rows()})
            shown = found.above(detector.threshold.value)
            detector.show(image, shown, folder / names[number])
            tally.add(found, shown)
            bar.update()
    tally.say("image", detector, folder)
    return unreadable


def predict_video(detector: Detector, video: Video, folder: Path) -> list[str]:
    """Write a drawn copy of the video and a row of predictions.json for each frame; a camera is read until Ctrl-C.

    Returns a message if the file ends too early.
    """
    path, rate, tally = folder / drawn_video_name(video), video.frames_per_second, Tally()
    try:
        with result_file(folder / RESULTS) as write, video_file(path, rate) as draw, \
                progress_bar(video.frame_count, "frame") as bar:
            for number, image, found in detector.stream(video.frames()):
                write({"file": video.name, "frame": number, "seconds": round(number / rate, 3),
                       "detections": found.rows()})
                shown = found.above(detector.threshold.value)
                draw(detector.show(image, shown))
                tally.add(found, shown)
                bar.update()
    finally:
        tally.say("frame", detector, path)
    lost = video.lost(tally.images)
    return [lost] if lost else []


def drawn_video_name(video: Video) -> str:
    """The name of the drawn copy of a video."""
    stem = f"camera_{video.source}" if isinstance(video.source, int) else video.source.stem
    return f"{stem.encode('utf-8', 'replace')[:LONGEST_NAME].decode('utf-8', 'ignore')}.mp4"


if __name__ == "__main__":
    sys.exit(run(main))
