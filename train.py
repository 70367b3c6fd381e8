"""Train a detector: python train.py --config_path config/ssd/ssd300_mobilenet_v2.yaml [--key value ...]"""
from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from src.command_line import load_config, read_config
from src.data.annotations import load_split
from src.data.audit import audit
from src.data.mindrecord import open_mindrecord, prepare_mindrecord
from src.engine.run_folder import describe_run, run_folder
from src.engine.start_weights import require_backbone_file
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import UsageError
from src.evaluation.evaluate import audited_split
from src.model_utils.device_adapter import init_distributed, set_device
from src.model_utils.moxing_adapter import staged
from src.models import build_detector, detector_class


def main(argv=None) -> int:
    with staged(load_config(sys.argv[1:] if argv is None else argv, "train")) as config:
        work(config)
    return 0


def work(config) -> None:
    require_backbone_file(config)
    annotations = load_annotations(config)
    if config.train.run_eval:
        load_split(config.data, "val")  # a wrong path is said before MindSpore is imported
    folder = open_run(config)
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        set_device(config.runtime)
        process = init_distributed(config.runtime)
        files = training_files(config, annotations, folder, process)
        if not config.data.only_create_dataset:
            train(config, folder, process, files)


def load_annotations(config):
    """The training split, or None where the raw data is absent and MindRecord files stand for it."""
    try:
        return load_split(config.data, "train")
    except UsageError as missing:
        if not (Path(config.data.mindrecord_dir) / f"{detector_class(config).mindrecord_prefix}.json").exists():
            raise
        print(f"training from {config.data.mindrecord_dir} alone: {missing}")
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


def training_files(config, annotations, folder: Path, process):
    """MindRecord files of the training split: audited and written when they are not there or not current."""
    data, detector = config.data, detector_class(config)
    if annotations is None:
        return open_mindrecord(data.mindrecord_dir, detector.mindrecord_prefix)

    def audited(found):
        checked, report = audit(found, data.audit_policy, data.max_image_pixels, data.num_parallel_workers,
                                with_masks=detector.with_masks)
        print(report.table())
        report.write(folder)
        return checked if data.keep_empty_images else without_empty(checked)

    # On ModelArts every host has a disk of its own, so that one process of each has to write.
    rank = process.device_id if config.modelarts.enable_modelarts else process.rank
    return prepare_mindrecord(
        annotations, data.mindrecord_dir, detector.mindrecord_prefix, audit=audited, shards=data.mindrecord_shards,
        with_masks=detector.with_masks,
        settings={"audit_policy": data.audit_policy, "max_image_pixels": data.max_image_pixels,
                  "keep_empty_images": data.keep_empty_images},
        force=data.rebuild_mindrecord, rank=rank, rank_size=process.size)


def without_empty(annotations):
    """The images that show at least one object that can be learned."""
    kept = tuple(record for record in annotations.records if not record.crowd.all())
    if len(kept) < len(annotations.records):
        print(f"{len(annotations.records) - len(kept)} images without objects are not trained on "
              "(--keep_empty_images True keeps them)")
    return replace(annotations, records=kept)


def train(config, folder: Path, process, files) -> None:
    """Build everything, take up the state of an earlier run or pretrained weights, and fit."""
    from src.engine.build import build_trainer, profiled

    detector = build_detector(config, files.classes)
    validation = audited_split(config, "val", files.classes)[0] if config.train.run_eval else None
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
