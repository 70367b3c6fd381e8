"""Network inputs as files, for the C++ application's --input0_path:
python preprocess.py --model_path FILE.mindir|.onnx [--preprocess_path preprocess_Result] [--key value ...]"""
from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from tqdm import tqdm

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.images import read_image
from src.data.recognise import with_data
from src.data.records import Record
from src.engine.run_folder import make_folder
from src.entry import keep_traces_in, run
from src.errors import UsageError
from src.evaluation.evaluate import audit_ground_truth
from src.evaluation.image_names import image_names
from src.evaluation.model_file import exported_detector, read_exported
from src.files import write_file
from src.printable import counted
from src.settings.config import Config

INPUTS = "input0"


def main(argv=None) -> int:
    config = with_data(load_config(sys.argv[1:] if argv is None else argv, "preprocess"))
    model = read_exported(config.eval.checkpoint_file_path)
    detector = exported_detector(config, model)
    folder = make_folder(Path(config.eval.preprocess_path), "preprocess_path")
    if any((folder / INPUTS).glob("*")):
        raise UsageError(f"{folder / INPUTS} holds the inputs of an earlier call, which the application would run with "
                         "the new ones; delete it, or choose another --preprocess_path")
    keep_traces_in(folder)
    annotations = audit_ground_truth(config, load_split(config.data, config.eval.eval_split, model.classes), folder)
    sizes = write_inputs(config, detector, annotations.records, folder / INPUTS)
    write_file(folder / "sizes.json", json.dumps(sizes, indent=0))
    print(f"{counted(len(sizes), 'image')}: {folder / INPUTS}")
    return 0


def write_inputs(config: Config, detector: Any, records: Sequence[Record],
                 folder: Path) -> dict[str, dict[str, int]]:
    """<name>.bin of the image of every record; returns name -> size and applied EXIF orientation of the
    image, which the application needs."""
    names = image_names(record.image_path for record in records)

    def write(record: Record) -> tuple[str, dict[str, int]]:
        image = read_image(record.image_path, record.orientation, config.data.max_image_pixels)
        array, _ = detector.preprocess(image)
        path = folder / f"{names[record.image_path]}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, np.ascontiguousarray(array).tobytes())
        return names[record.image_path], {"height": image.shape[0], "width": image.shape[1],
                                          "orientation": record.orientation}

    folder.mkdir(exist_ok=True)
    images = {record.image_path: record for record in records}.values()
    with ThreadPoolExecutor(config.data.num_parallel_workers or os.cpu_count()) as pool:
        return dict(tqdm(pool.map(write, images), total=len(images), unit="image", file=sys.stderr))


if __name__ == "__main__":
    sys.exit(run(main))
