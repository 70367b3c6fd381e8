"""Evaluate a model: python eval.py --model_path FILE.ckpt|.mindir|.onnx [--config_path FILE] [--key value ...]"""
from __future__ import annotations

import sys
from pathlib import Path

from src.command_line import load_config
from src.data.annotations import load_split
from src.engine.curves import draw_curves, read_metrics
from src.engine.run_folder import describe_run, results_folder, versions
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import judge, open_data, predict_dataset
from src.evaluation.model_file import check_model_path, choose_device, model_classes, open_predictor
from src.model_utils.device_adapter import init_distributed
from src.model_utils.moxing_adapter import staged


def main(argv=None) -> int:
    with staged(load_config(sys.argv[1:] if argv is None else argv, "eval")) as config:
        work(config)
    return 0


def work(config) -> None:
    path = check_model_path(config.eval.checkpoint_file_path)
    load_split(config.data, config.eval.eval_split)  # a wrong path is said before MindSpore is imported
    folder = results_folder(config, path, f"eval_{config.eval.eval_split}")
    keep_traces_in(folder)
    describe_run(folder, config)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        choose_device(config, path)
        evaluate(config, path, folder, init_distributed(config.runtime))


def evaluate(config, path: Path, folder: Path, process):
    """Audit the data and predict, together with the other processes; rank 0 measures, prints, writes the report and
    returns the CocoResults."""
    annotations = open_data(config, model_classes(path) or config.data.classes, folder)
    predictor = open_predictor(config, path, annotations.classes)
    predictions = folder / "predictions.json"
    image_ids = predict_dataset(predictor, annotations, predictions, workers=config.data.num_parallel_workers,
                                process=process)
    if process.rank > 0:
        return None
    timing = predictor.timing
    print(f"{timing.images} images, {timing.ms_per_image:.1f} ms each (waited for pictures "
          f"{1000 * timing.waited / timing.images:.1f}, network {1000 * timing.network / timing.images:.1f}, "
          f"decoding {1000 * timing.postprocess / timing.images:.1f})")
    metrics = path.parent.parent / "metrics.jsonl"
    return judge(config, annotations, predictions, image_ids, facts={"model file": path, **versions()},
                 headline={"ms per image": f"{timing.ms_per_image:.1f}"},
                 curves_png=draw_curves(read_metrics(metrics)) if metrics.is_file() else None)


if __name__ == "__main__":
    sys.exit(run(main))
