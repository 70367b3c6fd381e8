"""Evaluate a model: python eval.py --model_path FILE.ckpt|.mindir|.onnx [--config_path FILE] [--key value ...]"""
from __future__ import annotations

import sys
from pathlib import Path

from src.data.annotations import load_split
from src.detectors import load_config
from src.engine.logs import draw_curves
from src.engine.run_folder import describe_run, results_folder, versions
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.evaluation.evaluate import audited_split, measure, predict_dataset, print_result, report
from src.evaluation.model_file import check_model_path, choose_device, model_classes, open_predictor


def main(argv=None) -> int:
    config = load_config(sys.argv[1:] if argv is None else argv, "eval")
    path = check_model_path(config.eval.checkpoint_file_path)
    load_split(config.data, config.eval.eval_split)  # a wrong path is said before MindSpore is imported
    folder = results_folder(config, path, f"eval_{config.eval.eval_split}")
    keep_traces_in(folder)
    describe_run(folder, config)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        choose_device(config, path)
        evaluate(config, path, folder)
    return 0


def evaluate(config, path: Path, folder: Path):
    """Audit the data, predict, measure, print and report; returns the CocoResult."""
    data = config.data
    annotations, findings = audited_split(data, config.eval.eval_split, model_classes(path) or data.classes)
    findings.write(folder)
    print(f"ground truth: {annotations.source}, {findings.after.images} pictures, {findings.after.boxes} boxes")
    if findings.findings:
        print(findings.table())
    predictor = open_predictor(config, path, annotations.classes)
    predictions = folder / "predictions.json"
    image_ids = predict_dataset(predictor, annotations, predictions, workers=data.num_parallel_workers)
    timing = predictor.timing
    print(f"{timing.images} images, {timing.ms_per_image:.1f} ms each (waited for pictures "
          f"{1000 * timing.waited / timing.images:.1f}, network {1000 * timing.network / timing.images:.1f}, "
          f"decoding {1000 * timing.postprocess / timing.images:.1f})")
    result = measure(annotations, predictions, image_ids, config.eval.metric_backend)
    diagnosis = print_result(result, annotations, predictions)
    if config.eval.report:
        metrics = path.parent.parent / "metrics.jsonl"
        facts = {"model file": path, "metric": result.backend, **versions(), "settings": config.dump_yaml()}
        print("report:", report(
            folder, result, annotations, predictions, facts=facts, diagnosis=diagnosis,
            title=f"{config.model.model_name} on {annotations.source.name} ({config.eval.eval_split})",
            headline={"ms per image": f"{timing.ms_per_image:.1f}"},
            curves_png=draw_curves(metrics) if metrics.is_file() else None,
            score_threshold=config.eval.report_score_threshold))
    print("predictions:", predictions)
    return result


if __name__ == "__main__":
    sys.exit(run(main))
