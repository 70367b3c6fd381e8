"""Detect objects in images: python predict.py --model_path FILE --img_path IMAGE|FOLDER|LIST [--key value ...]"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.command_line import load_config
from src.data.drawing import draw_boxes
from src.data.images import encode_jpeg, read_image
from src.engine.run_folder import results_folder
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import ImageError, UsageError
from src.evaluation.model_file import check_model_path, choose_device, open_predictor, read_model
from src.evaluation.predictions import json_rle
from src.evaluation.predictor import Predictor
from src.evaluation.thresholds import ScoreThreshold, score_threshold, stored_thresholds
from src.files import write_file

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp")


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "predict")
    path = check_model_path(config.eval.checkpoint_file_path)
    images = find_images(config.eval.img_path)
    folder = results_folder(config, path, "predict")
    keep_traces_in(folder)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        choose_device(config, path)
        model = read_model(path)
        threshold = score_threshold(config.eval.report_score_threshold, stored_thresholds(path, model.description))
        unreadable = predict(config, open_predictor(config, model), images, folder, threshold)
    for message in unreadable:
        print(f"not read: {message}", file=sys.stderr)
    return 1 if unreadable else 0


def find_images(img_path: str | None) -> list[Path]:
    """The images that img_path means: itself, those of a folder, or the lines of a text file."""
    if not img_path:
        raise UsageError("no image given; add --img_path IMAGE, FOLDER or LIST.txt")
    path = Path(img_path)
    if path.is_dir():
        found = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGE_ENDINGS)
        if not found:
            raise UsageError(f"{path} holds no image ({', '.join(IMAGE_ENDINGS)})")
        return found
    if not path.is_file():
        raise UsageError(f"{path} does not exist; check --img_path")
    if path.suffix.lower() in IMAGE_ENDINGS:
        return [path]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except ValueError:
        raise UsageError(f"{path} is neither an image ({', '.join(IMAGE_ENDINGS)}) nor a list of images") from None
    found = [path.parent / line.strip() for line in lines if line.strip()]
    missing = [item for item in found if not item.is_file()]
    if missing or not found:
        raise UsageError(f"{path}: {missing[0]} does not exist" if missing else f"{path} lists no image")
    return found


def predict(config, predictor: Predictor, paths: list[Path], folder: Path,
            threshold: ScoreThreshold) -> list[str]:
    """Write a drawn copy of every image and predictions.json; returns a message for each unreadable image."""
    classes = predictor.detector.classes
    rows, unreadable, drawn_boxes, empty, highest = [], [], 0, 0, 0.0
    for number, path in enumerate(tqdm(paths, unit="image", file=sys.stderr)):
        try:
            image = read_image(path, max_pixels=config.data.max_image_pixels)
        except ImageError as error:
            unreadable.append(str(error))
            continue
        (found,) = predictor([image])
        rows.append({"file": str(path), "detections": [
            {"class": classes[label], "score": round(float(score), 4), "box": [round(float(side), 2) for side in box],
             **({"mask": json_rle(found.masks[index])} if found.masks else {})}
            for index, (box, score, label) in enumerate(zip(found.boxes, found.scores, found.labels))]})
        shown = np.flatnonzero(found.scores >= threshold.value)
        masks = None if found.masks is None else [found.masks[index] for index in shown]
        drawn = draw_boxes(image, found.boxes[shown], found.labels[shown], classes, found.scores[shown], masks)
        drawn_boxes, empty = drawn_boxes + len(shown), empty + (len(shown) == 0)
        highest = max(highest, float(found.scores.max(initial=0)))
        write_file(folder / f"{number:04d}_{path.stem}.jpg", encode_jpeg(drawn, 92))
    write_file(folder / "predictions.json", json.dumps(rows, indent=1))
    print(f"{len(rows)} images, {drawn_boxes} boxes drawn from score {threshold}; {empty} images without any: {folder}")
    if rows and not drawn_boxes:
        print(f"the highest score of all detections is {highest:.3f}; --report_score_threshold draws from a lower one")
    return unreadable


if __name__ == "__main__":
    sys.exit(run(main))
