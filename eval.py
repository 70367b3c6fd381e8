"""Evaluate a model: python eval.py --model_path FILE.ckpt|.mindir|.onnx|.xml [--config_path FILE] [--key value ...]"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

from src.command_line import staged_config
from src.data.annotations import check_split, load_split
from src.data.recognise import with_data
from src.engine.curves import draw_curves, read_metrics
from src.engine.run_folder import describe_run, results_folder, versions
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import audit_ground_truth, evaluate_predictions, predict_dataset
from src.evaluation.model_file import check_model_path, choose_device, open_predictor, read_model
from src.model_utils.device_adapter import Process, init_distributed
from src.printable import counted
from src.settings.config import Config

RESULTS = "predictions.json"


def main(argv: Optional[list[str]] = None) -> int:
    with staged_config(sys.argv[1:] if argv is None else argv, "eval") as config:
        evaluate_model(with_data(config))
    return 0


def evaluate_model(config: Config) -> None:
    path = check_model_path(config.eval.checkpoint_file_path)
    check_split(config.data, config.eval.eval_split)  # a wrong path is reported before MindSpore is imported
    folder = results_folder(config, path, f"eval_{config.eval.eval_split}", RESULTS)
    keep_traces_in(folder)
    describe_run(folder, config)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        said = choose_device(config, path)
        process = init_distributed(config.runtime)
        if said and process.rank == 0:
            print(said)
        evaluate(config, path, folder, process)


def evaluate(config: Config, path: Path, folder: Path, process: Process) -> None:
    """Audit the data and predict, together with the other processes; rank 0 measures, prints and writes the report."""
    model = read_model(path)
    annotations = audit_ground_truth(config, load_split(config.data, config.eval.eval_split, model.classes), folder)
    predictor = open_predictor(config, model, annotations.classes)
    predictions = folder / RESULTS
    predict_dataset(predictor, annotations, predictions, workers=config.data.num_parallel_workers, process=process,
                    keep_partial=True)
    if process.rank > 0:
        return
    timing = predictor.timing
    print(f"{counted(timing.images, 'image')}, {timing.ms_per_image:.1f} ms each (waited for images "
          f"{1000 * timing.waited / timing.images:.1f}, network {1000 * timing.network / timing.images:.1f}, "
          f"decoding {1000 * timing.postprocess / timing.images:.1f})")
    metrics = path.parent.parent / "metrics.jsonl"
    evaluate_predictions(config, annotations, predictions, model=model, facts=versions(),
                         headline={"ms per image": f"{timing.ms_per_image:.1f}"},
                         curves_png=draw_curves(read_metrics(metrics)) if metrics.is_file() else None)


if __name__ == "__main__":
    sys.exit(run(main))
