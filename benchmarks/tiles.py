"""AP on large drawn images with small objects: the image as a whole, and in tiles.

    python benchmarks/tiles.py --model_path RUN [--images 30] [--tile 240] [any setting of eval.py]

RUN is the run folder of `make demo`, or a model that was trained on its set: images of 240 x 180 pixels with shapes of
45 to 108. The images drawn here are of 1280 x 960 with shapes of 45 to 108 pixels. Prints a table.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.command_line import load_config  # noqa: E402
from src.data.annotations import load_split  # noqa: E402
from src.data.coco_json import to_coco  # noqa: E402
from src.data.images import encode_jpeg  # noqa: E402
from src.data.shapes import CLASSES, JPEG_QUALITY, Kind, draw_image  # noqa: E402
from src.entry import run  # noqa: E402
from src.evaluation.evaluate import measure, predict_dataset  # noqa: E402
from src.evaluation.model_file import check_model_path, choose_device, open_predictor, read_model  # noqa: E402
from src.evaluation.predictions import read_predictions  # noqa: E402

SIZE = (1280, 960)
MANY_SMALL = Kind(shapes=(1, 60), relative_size=(45 / 960, 108 / 960))     # the sizes that were trained
SEED = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_path", required=True)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--tile", type=int, default=240)
    own, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        objects = draw_set(Path(name), own.images)
        print(f"{own.images} images of about {SIZE[0]} x {SIZE[1]}, {objects} objects\n")
        print("|  | AP | AP50 | objects found at best (AR100) | ms per image |\n| --- | --- | --- | --- | --- |")
        for title, tile in (("whole image", []), (f"tiles of {own.tile}", ["--tile", str(own.tile)])):
            print(row_of(title, Path(name), [f"--model_path={own.model_path}", *tile, *flags]), flush=True)
    return 0


def draw_set(folder: Path, count: int) -> int:
    """A validation split in COCO's form; returns its number of objects."""
    (folder / "val2017").mkdir()
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for image_id in range(1, count + 1):
        image, objects = draw_image(SIZE, np.random.default_rng([SEED, image_id]), MANY_SMALL)
        (folder / "val2017" / f"{image_id}.jpg").write_bytes(encode_jpeg(image, JPEG_QUALITY))
        images.append({"id": image_id, "file_name": f"{image_id}.jpg", "height": image.shape[0],
                       "width": image.shape[1]})
        for label, outline in objects:
            (x, y), (width, height) = outline.min(axis=0), np.ptp(outline, axis=0)
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": label + 1,
                                "iscrowd": 0, "bbox": [x, y, width, height], "area": width * height})
    categories = [{"id": label + 1, "name": shape} for label, shape in enumerate(CLASSES)]
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(
        {"images": images, "annotations": annotations, "categories": categories}))
    return len(annotations)


def row_of(title: str, folder: Path, flags: list[str]) -> str:
    """Detect, measure; a line of the table."""
    config = load_config([*flags, f"--coco_root={folder}", "--val_data_type=val2017", "--dataset=coco"], "eval")
    path = check_model_path(config.eval.checkpoint_file_path)
    choose_device(config, path)
    model = read_model(path)
    annotations = load_split(config.data, "val", model.classes)
    predictor = open_predictor(config, model, annotations.classes)
    predictor([np.zeros((SIZE[1], SIZE[0], 3), np.uint8)])     # compiles
    predictor.timing = type(predictor.timing)()
    predictions = folder / "predictions.json"
    predict_dataset(predictor, annotations, predictions)
    summary = measure(to_coco(annotations), read_predictions(predictions), "pycocotools")[0].summary
    return (f"| {title} | {summary['AP']:.3f} | {summary['AP50']:.3f} | {summary['AR100']:.3f} | "
            f"{predictor.timing.ms_per_image:.0f} |")


if __name__ == "__main__":
    sys.exit(run(main))
