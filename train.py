"""Train a detector: python train.py --config_path config/ssd/ssd300_mobilenet_v2.yaml [--key value ...]"""
# ruff: noqa: E402
from __future__ import annotations

if __name__ == "__main__":
    from src.model_utils.interrupts import block_interrupts

    block_interrupts()  # before numpy is imported, which starts threads

import contextlib
import sys
from pathlib import Path
from typing import Iterator

from src.command_line import read_config, staged_config
from src.data.mindrecord_description import RecordFiles
from src.data.mindrecord_rows import read_rows
from src.data.recognise import with_data
from src.data.records import AnnotationSet
from src.engine.run_folder import describe_run, run_folder
from src.engine.start_weights import Start, require_start_files, with_settings_of_run, with_settings_of_start
from src.engine.terminal import quiet_terminal
from src.engine.training_data import find_data, load_validation_set, shared_validation, training_files
from src.entry import keep_traces_in, run
from src.errors import UsageError
from src.evaluation.automatic import SOURCE, Training, objects_of, sampled, with_automatic_settings
from src.files import LockedError, locked
from src.model_utils.device_adapter import Process, init_distributed, set_device, this_process
from src.model_utils.local_adapter import is_scheduler
from src.models import build_detector
from src.ops import native
from src.settings.config import AUTOMATIC


def main(argv=None) -> int:
    with staged_config(sys.argv[1:] if argv is None else argv, "train") as config:
        train_detector(with_data(config))
    return 0


def train_detector(config) -> None:
    require_start_files(config)
    training = find_data(config)
    validation = None
    if training.classes and this_process(config.runtime).rank == 0:
        validation = load_validation_set(config, training.classes)
    folder = run_folder(config, config.runtime.resume)
    with only_run_in(folder, config), quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        start = None if is_resumed(config, folder) else Start(config)
        if start is not None:
            config = with_settings_of_start(config, start)
        elif (folder / "config.yaml").exists():
            before = read_config(folder / "config.yaml")
            config = with_computed_settings(with_settings_of_run(config, before), before)
        open_run(config, folder)
        set_device(config.runtime, training=True)
        said = native.use(config.runtime)
        process = init_distributed(config.runtime)
        if process.rank == 0:
            print(said)
        files = training_files(config, training, folder, process, resumes=start is None)
        if not config.data.only_create_dataset:
            validation = shared_validation(config, validation, files, folder, process)
            config = with_settings_of_data(config, files, folder, process)
            train(config, folder, process, files, validation, start)


@contextlib.contextmanager
def only_run_in(folder: Path, config) -> Iterator[None]:
    """Lock the run folder against other runs; raises UsageError that names the process that holds it.

    Rank 0 keeps it for its job; msrun's scheduler, which is none of the ranks, trains nothing.
    """
    if is_scheduler() or this_process(config.runtime).rank > 0:
        yield
        return
    try:
        with locked(folder / "run.lock"):
            yield
    except LockedError as holder:
        raise UsageError(f"{folder} is the run folder of {holder}, which has not ended; choose another --output_path") \
            from None


def is_resumed(config, folder: Path) -> bool:
    """Whether this training continues the run in `folder`, which has saved its state."""
    return config.runtime.resume and holds_run(folder)


def holds_run(folder: Path) -> bool:
    return any(folder.glob("ckpt_*/latest.json"))


def with_computed_settings(config, before):
    """With --auto: the configuration with the settings that the run computed when it began. before: its own."""
    if not config.train.auto or not before.train.auto or type(before) is not type(config):
        return config
    return config.replaced_by(SOURCE, {key: value for key, value in before.values().items()
                                       if key in AUTOMATIC and not config.fixed_by_user(key)})


def with_settings_of_data(config, files: RecordFiles, folder: Path, process: Process):
    """With --auto: the configuration with the settings that fit the training data, which the run folder keeps."""
    if not config.train.auto or is_resumed(config, folder):
        return config
    rows = read_rows(files, sampled(files.image_count), ["height", "width", "boxes", "labels", "crowd", "count"])
    automatic = with_automatic_settings(config, Training(objects_of(rows), files.image_count, files.classes,
                                                         process.size))
    if process.rank == 0:
        print(automatic.text())
        automatic.config.write(folder / "config.yaml")
    return automatic.config


def open_run(config, folder: Path) -> None:
    """Start or continue a run; raises UsageError if the folder has another run or other settings.

    A new run is described in the folder. Of one that is continued nothing is changed yet: it may still be refused.
    """
    resume, saved = config.runtime.resume, holds_run(folder)
    earlier = folder / "config.yaml"
    if resume and not saved:
        print(f"{folder} holds nothing to resume; a new run starts there")
    elif resume and earlier.exists():
        changed = read_config(earlier).differences(config)
        if changed:
            raise UsageError(f"{folder} was started with other settings: {'; '.join(changed)}. Resume with the same "
                             "ones, or start a new run with --pre_trained")
    elif not resume and saved:
        raise UsageError(f"{folder} holds a run already; continue it with --resume, or choose another --output_path")
    keep_traces_in(folder)
    if not is_resumed(config, folder):
        describe_run(folder, config)


def train(config, folder: Path, process: Process, files: RecordFiles, validation: AnnotationSet | None,
          start: Start | None) -> None:
    """Build the trainer, load the weights of `start` or, without it, the state of the run in `folder`, and train."""
    from src.engine.build import build_trainer, profiled

    detector = build_detector(config, files.classes)
    profile = profiled(folder / "profile") if config.runtime.enable_profiling else contextlib.nullcontext()
    with build_trainer(config, detector, folder, process, files, validation, start) as trainer, profile:
        if start is None:   # the run is continued, on its own data and with its own settings
            describe_run(folder, config)
        trainer.fit()
    if process.rank == 0:
        print(f"run folder: {folder}\nlast checkpoint: {trainer.checkpoints.latest()[0]}")
        if trainer.best_path is not None:
            best = trainer.best
            print(f"best checkpoint: {trainer.best_path} (epoch {best.epoch}{', before averaging' * best.plain}: "
                  f"AP {best.AP:.3f}, AP50 {best.AP50:.3f})")


if __name__ == "__main__":
    sys.exit(run(main))
