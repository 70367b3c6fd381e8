"""What a start of train.py costs on a set of COCO's size: seconds and memory to the third step, with current MindRecord
files, beside a set of 100 images.

    python benchmarks/coco_size.py --source <coco_subset> --folder FOLDER [--images 118287] [--shrink 4] [any setting]

Draws both sets below FOLDER from the images and objects of a COCO folder, by hard links, with 8.9 objects per image;
what is there already is used again. 118,287 images as large as COCO's need 20 GB for the MindRecord files; --shrink 4
makes their sides 4 times smaller. A start reads no image before the first step, only the times and sizes of the files.
Prints JSON.
"""
from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

import cv2

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from src.entry import run  # noqa: E402

COCO_IMAGES, COCO_OBJECTS = 118_287, 1_054_328
FEW = 100
SETTINGS = ("--config_path", "config/ssd/ssd300_mobilenet_v2_small.yaml", "--img_shape", "96,96", "--batch_size", "2",
            "--run_eval", "False", "--python_multiprocessing", "False", "--num_parallel_workers", "2")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=COCO_IMAGES)
    parser.add_argument("--shrink", type=int, default=1)
    own, flags = parser.parse_known_args()
    results = {}
    for images in (FEW, own.images):
        folder = own.folder / f"coco{images}"
        draw(own.source, folder, images, own.shrink)
        written = train(folder, "written", flags, "--only_create_dataset", "True")
        started = train(folder, f"run-{time.time_ns()}", flags, "--train_steps", "3")
        results[images] = {"json_mb": round((folder / "annotations/instances_train2017.json").stat().st_size / 1e6),
                           "written": written, "start": started}
        print(json.dumps({images: results[images]}), flush=True)
    print(json.dumps({"seconds more": round(results[own.images]["start"]["seconds"] - results[FEW]["start"]["seconds"],
                                            1)}))
    return 0


def draw(source: Path, folder: Path, images: int, shrink: int) -> None:
    """A COCO folder of so many images, unless it is there."""
    annotations = folder / "annotations" / "instances_train2017.json"
    if annotations.is_file():
        return
    content = json.loads((source / "annotations" / "instances_train2017.json").read_text())
    objects_of = {image["id"]: [entry for entry in content["annotations"] if entry["image_id"] == image["id"]]
                  for image in content["images"]}
    originals = [image for image in content["images"] if objects_of[image["id"]]]
    image_folder, originals_folder = folder / "train2017", source / "train2017"
    image_folder.mkdir(parents=True, exist_ok=True)
    if shrink > 1:
        originals_folder = folder / "originals"
        originals_folder.mkdir(exist_ok=True)
        for original in originals:
            shrink_image(source / "train2017", originals_folder, original, objects_of[original["id"]], shrink)
    annotations.parent.mkdir(exist_ok=True)
    total = COCO_OBJECTS * images // COCO_IMAGES
    entries, objects = [], []
    for number, original in zip(range(images), itertools.cycle(originals)):
        name = f"{number + 1:012d}.jpg"
        link = image_folder / name
        if not link.exists():
            os.link(originals_folder / original["file_name"], link)
        entries.append({**original, "id": number + 1, "file_name": name})
        wanted = total * (number + 1) // images - total * number // images
        objects.append((number + 1, list(itertools.islice(itertools.cycle(objects_of[original["id"]]), wanted))))
    with open(annotations, "w", encoding="utf-8") as file:
        file.write(json.dumps({"images": entries, "categories": content["categories"]})[:-1] + ', "annotations": [')
        file.writelines(_rows(objects))
        file.write("]}")


def shrink_image(source: Path, target: Path, image: dict, objects: list[dict], times: int) -> None:
    """Write a smaller image, and change its entry and those of its objects in place."""
    pixels = cv2.imread(str(source / image["file_name"]))
    image["height"], image["width"] = image["height"] // times, image["width"] // times
    cv2.imwrite(str(target / image["file_name"]), cv2.resize(pixels, (image["width"], image["height"])))
    for entry in objects:
        entry["bbox"], entry["area"] = [side / times for side in entry["bbox"]], entry["area"] / times ** 2


def _rows(objects: list[tuple[int, list[dict]]]) -> Iterator[str]:
    """The objects as json, with ids of their own."""
    number = 0
    for image_id, entries in objects:
        for entry in entries:
            number += 1
            yield ("," if number > 1 else "") + json.dumps({**entry, "id": number, "image_id": image_id})


def train(folder: Path, output: str, flags: list[str], *more: str) -> dict:
    """Seconds, processor seconds and largest resident memory (MB) of one call."""
    command = [sys.executable, str(ROOT / "train.py"), *SETTINGS, "--coco_root", str(folder), "--mindrecord_dir",
               str(folder / "mindrecord"), "--output_path", str(folder / output), *more, *flags]
    begun = time.perf_counter()
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed; see {folder / 'log.txt'}")
    return {"seconds": round(time.perf_counter() - begun, 1),
            "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1), "memory_mb": usage.ru_maxrss // 1024}


if __name__ == "__main__":
    sys.exit(run(main))
