"""Builds a trainer from the settings."""
from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Optional

import mindspore as ms
import numpy as np
from mindspore import nn

from src.checkpoint import CheckpointFolder, load_weights, read_weights
from src.conditions import conditions_of
from src.data.loader import TrainLoader
from src.data.mindrecord_rows import read_rows
from src.engine.logs import TrainLog
from src.engine.optimizer import build_optimizer
from src.engine.start_weights import Start, load_start
from src.engine.tensorboard import EventWriter
from src.engine.train_step import TrainStep
from src.engine.trainer import Position, Trainer
from src.engine.validation import Validation
from src.errors import UsageError
from src.model_utils.device_adapter import described_device, fuse_gradients
from src.ops.normalize import NormalizeImages
from src.ops.norms import synchronise_norms, use_statistics
from src.printable import counted


@contextlib.contextmanager
def build_trainer(config, detector, folder: Path, process, files, validation, start_weights: Optional[Start]):
    """The Trainer of a run, at the step from which it continues.

    detector: the family's detector. process: this process among the ranks. files: RecordFiles of the training split.
    validation: AnnotationSet to evaluate on while training, or None. start_weights: of a new run; None continues the
    run in `folder`.
    """
    settings = config.train
    ms.set_seed(settings.seed)
    loader = TrainLoader(files, detector.train_transform(), settings.batch_size, settings.seed, process.rank,
                         process.size, config.data.num_parallel_workers or os.cpu_count() or 1,
                         config.data.python_multiprocessing, config.data.class_balance)
    network = detector.network()
    if config.model.use_float16 and config.runtime.device_target != "CPU":
        network.to_float(ms.float16)
    checkpoints = CheckpointFolder(folder / "ckpt_0", detector.checkpoint_prefix, settings.keep_checkpoint_max)
    saved = checkpoints.latest() if start_weights is None else None
    start = Position(epoch=settings.pre_trained_epoch_size,
                     step=settings.pre_trained_epoch_size * loader.steps_per_epoch)
    data = described_data(files, loader, process)
    if saved:
        check_same_data(saved[2].get("data"), data, folder)
        load_weights(network, read_weights(saved[0]), detector.from_zoo)
    if start_weights is not None:
        load_start(network, detector, config, start_weights)
    process.broadcast(list(network.get_parameters()))
    fix_parts(network, settings)
    if config.runtime.sync_batch_norm and process.size > 1:
        synchronise_norms(network, process.size)
    rates = config.optimizer.learning_rates(settings.epoch_size, loader.steps_per_epoch,
                                            settings.batch_size * process.size * settings.accumulation_steps)
    step = build_step(config, detector.loss(network), detector, rates, process)
    step.optimizer.global_step.set_data(ms.Tensor([start.step // settings.accumulation_steps], ms.int32))
    evaluate = None if validation is None else Validation(config, detector, network, step.loss, validation, folder,
                                                          process)
    events = EventWriter(folder / "events") if config.runtime.tensorboard and process.rank == 0 else None
    with contextlib.closing(loader), TrainLog(folder, process.rank, total_steps(settings, loader),
                                              saved[2]["step"] if saved else start.step, events) as log:
        trainer = Trainer(step, loader, detector.batch_columns, rates, settings, log, checkpoints,
                          config.model.model_name, detector.classes, process, evaluate, start, data=data,
                          conditions=conditions_of(detector, network))
        if evaluate is not None:
            trainer.describe_best = evaluate.store_thresholds
        if saved:
            trainer.resume(*saved[1:])
        if process.rank == 0:
            log.say(f"{len(network.trainable_params())} trained parameters, {counted(files.image_count, 'image')}, "
                    f"{counted(loader.steps_per_epoch, 'step')} per epoch, batch {settings.batch_size} x "
                    f"{process.size}, learning rate up to {rates.max():.6g}"
                    f"{scaling(config.optimizer, settings, process)}; "
                    f"{described_device(config.runtime, config.model.use_float16)}")
            if detector.max_objects is not None and files.max_objects > detector.max_objects:
                log.say(crowded(files, detector.max_objects))
        yield trainer


def fix_parts(network: nn.Cell, settings) -> None:
    """Leave unchanged in training what fixed_norms and freeze_layer of the `train` section say."""
    if settings.fixed_norms:
        use_statistics(network, moving=True)
    if settings.freeze_layer == "backbone":
        for parameter in network.backbone.get_parameters():
            parameter.requires_grad = False


def described_data(files, loader, process) -> dict:
    """The facts about the data that must be the same in a resumed run."""
    return {"fingerprint": files.fingerprint, "images": files.image_count, "steps per epoch": loader.steps_per_epoch,
            "classes": list(files.classes), "devices": process.size}


def check_same_data(saved: Optional[dict], found: dict, folder: Path) -> None:
    """Raises UsageError if a run is resumed with other data, or a number of devices that divides it differently.

    States of earlier versions do not record all of this.
    """
    changed = [f"{name}: {saved[name]} before, {value} now" for name, value in found.items()
               if saved and name in saved and saved[name] != value]
    if saved and any(line.startswith("devices:") for line in changed):
        raise UsageError(f"{folder} was trained on {saved['devices']} devices, not {found['devices']}: the images per "
                         "step and the learning rate belong to that number. Resume with as many devices, or start a "
                         "new run with --pre_trained")
    if changed:
        raise UsageError(f"{folder} was trained on other data: {'; '.join(changed)}. Resume with the data of that run, "
                         "or start a new run with --pre_trained")


def scaling(optimizer, settings, process) -> str:
    """The reason for the learning rate; empty for families that never scale it."""
    images = settings.batch_size * process.size * settings.accumulation_steps
    if optimizer.base_batch_size is None:
        usual = type(optimizer).model_fields["base_batch_size"].default
        return "" if usual is None else (f" (lr {optimizer.lr:.6g} is not scaled to the {images} images per step, "
                                         "because base_batch_size is none)")
    return (f" (lr {optimizer.lr:.6g} is set for {optimizer.base_batch_size} images per step and is scaled to "
            f"{images})")


def crowded(files, limit: int) -> str:
    """A sentence about images with more objects than the loss uses."""
    rows = read_rows(files, range(files.image_count), ["labels", "count"])
    count = sum(len(row["labels"]) > limit for row in rows)
    return (f"more than {counted(limit, 'object')} in {counted(count, 'image')} (the largest number is "
            f"{files.max_objects}); of these, a random {limit} per step enter the loss")


def build_step(config, loss: nn.Cell, detector, rates: np.ndarray, process) -> TrainStep:
    """The compiled step for these settings; a CPU computes in float32 and needs no loss scale."""
    settings, on_cpu = config.optimizer, config.runtime.device_target == "CPU"
    parameters = loss.trainable_params()
    per_update = rates[config.train.accumulation_steps - 1::config.train.accumulation_steps]
    optimizer = build_optimizer(settings, parameters, per_update)
    if process.size > 1:
        fuse_gradients(config.runtime, [parameter.size for parameter in parameters])
    return TrainStep(loss, optimizer, NormalizeImages(detector.mean, detector.std),
                     loss_scale=1.0 if on_cpu else settings.loss_scale,
                     dynamic_loss_scale=settings.dynamic_loss_scale and not on_cpu,
                     clip_norm=settings.grad_clip_norm, accumulation_steps=config.train.accumulation_steps,
                     ema_decay=config.train.ema_decay,
                     reducer=nn.DistributedGradReducer(parameters) if process.size > 1 else None,
                     all_finite=ms.amp.all_finite if config.runtime.device_target == "Ascend" else None)


@contextlib.contextmanager
def profiled(folder: Path):
    """Context manager: write a MindSpore profile of its block into `folder`."""
    from mindspore.profiler import profile, tensorboard_trace_handler

    with profile(on_trace_ready=tensorboard_trace_handler(str(folder))):
        yield


def total_steps(settings, loader) -> int:
    """Steps of the whole run."""
    steps = settings.epoch_size * loader.steps_per_epoch
    return steps if settings.train_steps < 0 else min(steps, settings.train_steps)
