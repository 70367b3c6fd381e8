"""Detections and metrics from the results of the C++ application:
python postprocess.py --model_path FILE.mindir|.onnx [--result_files_path result_Files] [--key value ...]"""
from __future__ import annotations

import sys
from pathlib import Path

from src.command_line import load_config
from src.data.annotations import load_split
from src.data.recognise import with_data
from src.engine.run_folder import make_folder, unused_folder, versions
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import audit_ground_truth, evaluate_predictions, predict_dataset
from src.evaluation.model_file import exported_detector, read_exported
from src.evaluation.result_files import REPORT_FOLDER, ResultFiles

RESULTS = "predictions.json"


def main(argv=None) -> int:
    config = with_data(load_config(sys.argv[1:] if argv is None else argv, "postprocess"))
    model = read_exported(config.eval.checkpoint_file_path)
    results = Path(config.eval.result_files_path)
    report_folder = unused_folder(results.absolute().parent, REPORT_FOLDER, RESULTS)
    files = ResultFiles(exported_detector(config, model), results, model.description["outputs"],
                        config.eval.agnostic_nms_threshold, report_folder)
    annotations = load_split(config.data, config.eval.eval_split, model.classes)
    folder = make_folder(report_folder, "result_files_path")
    keep_traces_in(folder)
    audited = audit_ground_truth(config, annotations, folder)
    files.check(audited.records, annotations.records, config.eval.drop)
    predictions = folder / RESULTS
    predict_dataset(files, audited, predictions)
    evaluate_predictions(config, audited, predictions, headline={},
                         model=model, facts={"results": results, **versions()})
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
