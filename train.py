"""Train a detector: python train.py --config_path config/ssd/ssd300_mobilenet_v2.yaml [--key value ...]"""
from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from src.command_line import load_config, read_config
from src.data.annotations import load_split
from src.data.mindrecord import RecordFiles, open_mindrecord, prepare_mindrecord
from src.data.records import AnnotationSet
from src.engine.run_folder import describe_run, run_folder
from src.engine.start_weights import require_backbone_file
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import ConfigError, UsageError
from src.evaluation.evaluate import audit_as_configured
from src.model_utils.device_adapter import init_distributed, set_device
from src.model_utils.moxing_adapter import stage_files
from src.models import build_detector, detector_class


def main(argv=None) -> int:
    with stage_files(load_config(sys.argv[1:] if argv is None else argv, "train")) as config:
        train_detector(config)
    return 0


def train_detector(config) -> None:
    require_backbone_file(config)
    training = load_training_set(config)
    validation = load_validation_set(config, training.classes)
    folder = open_run(config)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        set_device(config.runtime)
        process = init_distributed(config.runtime)
        files = training_files(config, training, folder, process)
        if not config.data.only_create_dataset:
            train(config, folder, process, files, validation)


def load_training_set(config) -> AnnotationSet | RecordFiles:
    """The training split, or the MindRecord files that stand for it where the raw data is absent."""
    folder, prefix = Path(config.data.mindrecord_dir), detector_class(config).mindrecord_prefix
    try:
        return load_split(config.data, "train")
    except UsageError as missing:
        if not (folder / f"{prefix}.json").exists():
            raise
        print(f"training from {folder} alone: {missing}")
        return open_mindrecord(folder, prefix)


def load_validation_set(config, classes: tuple) -> AnnotationSet | None:
    """The split to evaluate while training; None where run_eval is false, or is none and there is no such split."""
    if config.train.run_eval is False:
        return None
    try:
        return load_split(config.data, "val", classes)
    except ConfigError:
        raise
    except UsageError as missing:
        if config.train.run_eval:
            raise
        print(f"no evaluation while training: {missing}")
        return None


def open_run(config) -> Path:
    """The run folder; raises UsageError when it holds another run, or none to resume."""
    resume = config.runtime.resume
    folder = run_folder(config, resume)
    earlier = folder / "config.yaml"
    if resume and earlier.exists():
        changed = read_config(earlier).differences(config)
        if changed:
            raise UsageError(f"{folder} was started with other settings: {'; '.join(changed)}. Resume with the same "
                             "ones, or start a new run with --pre_trained")
    elif not resume and any(folder.glob("ckpt_*/latest.json")):
        raise UsageError(f"{folder} holds a run already; continue it with --resume, or choose another --output_path")
    keep_traces_in(folder)
    describe_run(folder, config)
    return folder


def training_files(config, training: AnnotationSet | RecordFiles, folder: Path, process) -> RecordFiles:
    """MindRecord files of the training split: audited and written when they are not there or not current."""
    data, detector = config.data, detector_class(config)
    if isinstance(training, RecordFiles):
        return training

    def audit_and_report(annotations: AnnotationSet) -> AnnotationSet:
        report = audit_as_configured(config, annotations)
        print(report.table())
        report.write(folder)
        return report.annotations if data.keep_empty_images else without_empty(report.annotations)

    # On ModelArts every host has a disk of its own, so that one process of each has to write.
    rank = process.device_id if config.modelarts.enable_modelarts else process.rank
    return prepare_mindrecord(
        training, data.mindrecord_dir, detector.mindrecord_prefix, audit=audit_and_report,
        shards=data.mindrecord_shards, with_masks=detector.with_masks,
        settings={"audit_policy": data.audit_policy, "max_image_pixels": data.max_image_pixels,
                  "keep_empty_images": data.keep_empty_images},
        force=data.rebuild_mindrecord, rank=rank, rank_size=process.size)


def without_empty(annotations: AnnotationSet) -> AnnotationSet:
    """The images that show at least one object that can be learned."""
    kept = tuple(record for record in annotations.records if not record.crowd.all())
    if len(kept) < len(annotations.records):
        print(f"{len(annotations.records) - len(kept)} images without objects are not trained on "
              "(--keep_empty_images True keeps them)")
    return replace(annotations, records=kept)


def train(config, folder: Path, process, files: RecordFiles, validation: AnnotationSet | None) -> None:
    """Build everything, take up the state of an earlier run or pretrained weights, and fit."""
    from src.engine.build import build_trainer, profiled

    detector = build_detector(config, files.classes)
    if validation is not None:
        validation = audit_as_configured(config, validation).annotations
    profile = profiled(folder / "profile") if config.runtime.enable_profiling else contextlib.nullcontext()
    with build_trainer(config, detector, folder, process, files, validation) as trainer, profile:
        trainer.fit()
    if process.rank == 0:
        print(f"run folder: {folder}\nlast checkpoint: {trainer.checkpoints.latest()[0]}")
        if trainer.best_path is not None:
            best = trainer.best
            print(f"best checkpoint: {trainer.best_path} (epoch {best.epoch}{', before averaging' * best.plain}: "
                  f"AP {best.AP:.3f}, AP50 {best.AP50:.3f})")


if __name__ == "__main__":
    sys.exit(run(main))
