"""Detections and metrics from the results of the C++ application:
python postprocess.py --model_path FILE.mindir|.onnx [--result_path result_Files] [--key value ...]"""
from __future__ import annotations

import sys
from pathlib import Path

from src.command_line import load_config
from src.data.annotations import load_split
from src.engine.run_folder import made, versions
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import judge, open_data, predict_dataset
from src.evaluation.model_file import check_exported, exported_detector, read_description
from src.evaluation.result_files import ResultFiles


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "postprocess")
    path = check_exported(config.eval.checkpoint_file_path)
    about = read_description(path)
    results = Path(config.eval.result_path or "result_Files")
    files = ResultFiles(exported_detector(config, path, about), results, about["outputs"])
    data = config.data.model_copy(update={"classes": about["classes"]})
    known = load_split(data, config.eval.eval_split).records
    folder = made(results.absolute().parent / "postprocess", "result_path")
    keep_traces_in(folder)
    annotations = open_data(config, about["classes"], folder)
    files.check(annotations.records, known, config.eval.drop)
    predictions = folder / "predictions.json"
    image_ids = predict_dataset(files, annotations, predictions)
    judge(config, annotations, predictions, image_ids, headline={},
          facts={"model file": path, "results": results, **versions()})
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
