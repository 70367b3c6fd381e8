"""Network inputs as files, for the C++ application's --input0_path:
python preprocess.py --model_path FILE.mindir|.onnx [--result_path preprocess_Result] [--key value ...]"""
from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.images import read_image
from src.engine.run_folder import make_folder
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import audit_ground_truth
from src.evaluation.model_file import exported_detector, read_exported
from src.files import write_file


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "preprocess")
    model = read_exported(config.eval.checkpoint_file_path)
    detector = exported_detector(config, model)
    folder = make_folder(Path(config.eval.result_path or "preprocess_Result"), "result_path")
    keep_traces_in(folder)
    annotations = audit_ground_truth(config, load_split(config.data, config.eval.eval_split, model.classes), folder)
    (folder / "input0").mkdir(exist_ok=True)
    sizes = write_inputs(detector, annotations.records, folder, config.data.num_parallel_workers or os.cpu_count())
    write_file(folder / "sizes.json", json.dumps(sizes, indent=0))
    print(f"{len(sizes)} images: {folder / 'input0'}")
    return 0


def write_inputs(detector, records, folder: Path, workers: int) -> dict:
    """input0/<image>.bin of every record; returns the images' sizes."""
    def write(record):
        image = read_image(record.image_path, (record.height, record.width))
        array, _ = detector.preprocess(image)
        write_file(folder / "input0" / f"{record.image_path.stem}.bin", np.ascontiguousarray(array).tobytes())
        return record.image_path.stem, {"height": image.shape[0], "width": image.shape[1]}

    with ThreadPoolExecutor(workers) as pool:
        return dict(tqdm(pool.map(write, records), total=len(records), unit="image", file=sys.stderr))


if __name__ == "__main__":
    sys.exit(run(main))
