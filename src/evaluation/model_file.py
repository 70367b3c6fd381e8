"""Opens model files: reads their description, and builds the Predictor for a file and its settings."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Optional, Sequence

import numpy as np

from src.checkpoint import Weights, checkpoint_of_run, load_weights, read_weights
from src.conditions import as_flag, check_conditions, check_settings, differences, with_zoo_settings
from src.description import check_unchanged, read_description
from src.errors import CheckpointError, ConfigError, UsageError
from src.evaluation.postprocessed import PostprocessedDetector, is_postprocessed
from src.evaluation.predictor import (
    IMAGES_AHEAD,
    OpenedModel,
    Predictor,
    Runner,
    mindir_runner,
    network_runner,
    onnx_runner,
    openvino_runner,
)
from src.evaluation.tiles import tiled
from src.model_utils.device_adapter import set_device
from src.models import build_detector, detector_class
from src.ops import native
from src.printable import counted
from src.settings.config import Config
from src.settings.schema import EvalSection

ENDINGS = (".ckpt", ".mindir", ".onnx", ".xml")
WITHOUT_MINDSPORE = (".onnx", ".xml")
TILED_IMAGES_AHEAD = 2      # each holds the network inputs of all its tiles


EXPORT_AGAIN = "python export.py --ckpt_file CKPT --file_format MINDIR"


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file apart from an exported network.

    weights: the content of a checkpoint; None for an exported model.
    description: of an exported model, the json that export.py wrote beside it; empty without one.
    """

    path: Path
    weights: Optional[Weights] = None
    description: dict = field(default_factory=dict)

    @property
    def classes(self) -> Optional[tuple[str, ...]]:
        """The class names in the file, or None."""
        if self.weights is not None:
            return self.weights.classes
        classes = self.description.get("classes")
        return None if classes is None else tuple(classes)


class LoadedNetwork(NamedTuple):
    """A Cell with its weights, and its detector."""

    network: Any
    detector: Any


def check_model_path(path: Optional[str]) -> Path:
    """The model file of a command. For a run folder its best, or else its latest checkpoint, whose name is printed.

    Raises UsageError if it is missing or of an unknown kind.
    """
    if not path:
        raise UsageError(f"no model given; add --model_path FILE ({', '.join(ENDINGS)}) or the folder of a run")
    model = Path(path)
    if os.path.isdir(model):
        checkpoint = checkpoint_of_run(model)
        if checkpoint is None:
            raise UsageError(f"{model} is a folder without a checkpoint; give a run folder or a model file"
                             + _models_in(model))
        print(f"model: {checkpoint}")
        return checkpoint
    if model.suffix.lower() in (".air", ".om"):
        raise UsageError(f"{model} is a model for Ascend's converter or runtime, which is not read here; export its "
                         f"checkpoint again: {EXPORT_AGAIN}")
    if model.suffix.lower() not in ENDINGS:
        raise UsageError(f"{model}: unknown kind of model '{model.suffix}'; it has to end in {', '.join(ENDINGS)}")
    if not os.path.isfile(model):
        raise UsageError(f"model {model} does not exist; check --model_path" + _models_in(model.parent))
    return model


def _models_in(folder: Path) -> str:
    """The end of a message that lists the models in a folder."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in ENDINGS) if folder.is_dir() else []
    return f"; {folder} holds {', '.join(names)}" if names else ""


def read_model(path: Path) -> ModelFile:
    """The content of a checkpoint, or the description of an exported model. Raises CheckpointError if it is damaged."""
    if path.suffix.lower() == ".ckpt":
        return ModelFile(path, weights=read_weights(path))
    return ModelFile(path, description=read_description(path))


def read_exported(path: Optional[str]) -> ModelFile:
    """The model file of a command that needs an exported model with its description file.

    Raises UsageError for a checkpoint and as in `check_model_path`, CheckpointError without a description file.
    """
    model = check_model_path(path)
    if model.suffix.lower() == ".ckpt":
        raise UsageError(f"{model} is a checkpoint; give the .mindir or .onnx that was exported from it")
    description = read_description(model)
    outputs = description.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) and isinstance(output.get("shape"), list)
                                                for output in outputs):
        raise CheckpointError(f"{model.with_suffix('.json')} does not exist or is of an earlier version, and "
                              f"it says how {model.name} is run; export the model again")
    return ModelFile(model, description=description)


def choose_device(config: Config, path: Path) -> Optional[str]:
    """Set MindSpore's device, which a single process that runs an ONNX or OpenVINO file does not need. For a
    checkpoint, use the native operators where they are built; returns a sentence that says whether."""
    if path.suffix.lower() not in WITHOUT_MINDSPORE or config.runtime.run_distribute:
        set_device(config.runtime)
    return native.use(config.runtime) if path.suffix.lower() == ".ckpt" else None


def open_predictor(config: Config, model: ModelFile, classes_of_data: Optional[tuple[str, ...]] = None) -> Predictor:
    """The predictor of a checkpoint, MindIR, ONNX or OpenVINO file.

    classes_of_data: class names to use if the file has none (checkpoints of the old zoo).
    Raises CheckpointError for a damaged file or a file of another model; ConfigError if its classes are not
    the configuration's; UsageError if the settings name an engine that does not run it.
    """
    check_engine(config, model.path)
    if model.weights is not None:
        network, detector = load_network(config, model.weights, classes_of_data)
        return make_predictor(config.eval, detector, network_runner(detector.inference(network)),
                              config.eval.eval_batch_size)
    detector = exported_detector(config, model, classes_of_data)
    check_unchanged(model.path, model.description)
    if model.path.suffix.lower() in WITHOUT_MINDSPORE:
        postprocessed = isinstance(detector, PostprocessedDetector)
        run, shapes = _opened(config, model.path, detector.image_type if postprocessed else "float32")
        check_inputs(model.path, len(shapes), detector)
        batch_size, *size = _batch_and_size(shapes[0], (config.eval.eval_batch_size, *detector.input_size),
                                            channels_last=postprocessed)
        check_input_size(model.path, size, detector)
    else:
        run, batch_size = mindir_runner(model.path), model.description.get("batch_size", 1)
        run = run if model.description else _explained(run, model.path)
    return make_predictor(config.eval, detector, run, batch_size, one_shape=True)


def check_engine(config: Config, path: Path) -> None:
    """Raises UsageError if the settings engine and precision_mode do not go with the model file, or with each other."""
    engine, precision, ending = config.eval.engine, config.eval.precision_mode, path.suffix.lower()
    if engine is not None and ending not in WITHOUT_MINDSPORE:
        raise UsageError(f"{path} runs in MindSpore, and --engine {engine} runs {', '.join(WITHOUT_MINDSPORE)}; leave "
                         "--engine out, or export the checkpoint with --file_format ONNX")
    if engine == "onnxruntime" and ending == ".xml":
        raise UsageError(f"{path} is a model of OpenVINO, which onnxruntime does not read; leave --engine out, or give "
                         "the .onnx that it was made from")
    if precision != "f32" and engine != "openvino" and ending != ".xml":
        raise UsageError(f"--precision_mode {precision} is a setting of the engine openvino; add --engine openvino")
    if (engine == "openvino" or ending == ".xml") and config.runtime.device_target != "CPU":
        raise UsageError(f"OpenVINO runs {path} on the CPU, not on --device_target {config.runtime.device_target}; "
                         "leave that out, or take the engine onnxruntime or a .mindir")


def _opened(config: Config, path: Path, image_type: str) -> OpenedModel:
    if config.eval.engine == "openvino" or path.suffix.lower() == ".xml":
        return openvino_runner(path, config.eval.precision_mode, image_type, config.runtime.runtime_num_threads)
    return onnx_runner(path, config.runtime.device_target, image_type, config.runtime.runtime_num_threads)


def _batch_and_size(shape: Sequence[Any], otherwise: Sequence[int], channels_last: bool) -> list[int]:
    """Batch, height and width of a model's input; a side that the file leaves open has no number there, and any number
    fits."""
    shape = shape[:3] if channels_last else (shape[0], *shape[2:])
    return [side if isinstance(side, int) else ours for side, ours in zip(shape, otherwise)]


def _explained(run: Runner, path: Path) -> Runner:
    """`run` with an error that names what is missing: without its description file, a MindIR's batch is unknown."""
    def explained(*inputs: np.ndarray) -> list:
        try:
            return run(*inputs)
        except CheckpointError as error:
            raise CheckpointError(f"{path} does not take inputs of the shape {inputs[0].shape} ({error}). Its "
                                  f"description file {path.with_suffix('.json').name}, which says what it takes, is "
                                  "missing: copy it from where the model was exported") from None

    return explained


def make_predictor(settings: EvalSection, detector: Any, run: Runner, batch_size: int,
                   one_shape: bool = False) -> Predictor:
    """The predictor as the settings of an evaluation ask for it: in tiles, with suppression across classes."""
    return Predictor(tiled(detector, settings), run, batch_size, one_shape, settings.agnostic_nms_threshold,
                     IMAGES_AHEAD if settings.tile is None else TILED_IMAGES_AHEAD)


def exported_detector(config: Config, model: ModelFile, classes_of_data: Optional[tuple[str, ...]] = None) -> Any:
    """The detector of a MindIR or ONNX file; the file is not opened. Raises the errors of `open_predictor`."""
    description = model.description
    check_model_name(model.path, description.get("model_name"), config)
    detector = build_detector(config, _classes(model.path, model.classes, config, classes_of_data))
    if is_postprocessed(description):
        detector = PostprocessedDetector(detector)
    if description:
        check_description(model, detector)
        check_inputs(model.path, len(description.get("inputs", ["images"])), detector)
        check_input_size(model.path, [description["input"]["height"], description["input"]["width"]], detector)
    return detector


def check_description(model: ModelFile, detector: Any) -> None:
    """Raises ConfigError where the description file has other settings, or another input, than the detector."""
    description, config = model.description, detector.config
    check_settings(model.path, description.get("settings", {}), detector.conditions(), config)
    file = model.path.with_suffix(".json")
    for name, (theirs, ours) in differences(description.get("built_in", {}), config.values()).items():
        raise ConfigError(f"{model.path} has {name} {as_flag(theirs)} built in, {config.source_of(name)} has "
                          f"{as_flag(ours)}; leave it out, or export the checkpoint again with --{name} "
                          f"{as_flag(ours)}")
    said, wanted = description["input"], detector.export_description()["input"]
    for name, (theirs, ours) in differences(said, wanted).items():
        if name not in ("height", "width", *config.runtime.insist):
            raise ConfigError(f"{file}: the input's {name} is {as_flag(theirs)}, with the settings given it is "
                              f"{as_flag(ours)}; the exported model needs what its description file says: use the "
                              "settings it was exported with (leave --config_path out), or export it again")


def check_inputs(path: Path, count: int, detector: Any) -> None:
    """Raises CheckpointError if the file has another number of inputs than the detector, as in earlier versions."""
    if count != len(detector.input_names):
        raise CheckpointError(f"{path} takes {count} inputs, with these settings the network takes "
                              f"{len(detector.input_names)} ({', '.join(detector.input_names)}); export the checkpoint "
                              "again")


def check_input_size(path: Path, size: list[int], detector: Any) -> None:
    """Raises ConfigError unless the detector takes images of this (height, width)."""
    if size != list(detector.input_size):
        raise ConfigError(f"{path} was exported for an input of {size}, the configuration says "
                          f"{list(detector.input_size)}; use the configuration it was exported with")


def load_network(config: Config, weights: Weights,
                 classes_of_data: Optional[tuple[str, ...]] = None) -> LoadedNetwork:
    """A network with these weights. Raises the errors of `open_predictor` for a checkpoint.

    detector.config has the settings that were used; a checkpoint of the old zoo changes some of them.
    """
    check_model_name(weights.path, weights.model_name, config)
    config = with_zoo_settings(config, weights, detector_class(config))
    detector = build_detector(config, _classes(weights.path, weights.classes, config, classes_of_data))
    network = detector.network()
    check_conditions(weights, network, detector)
    load_weights(network, weights, detector.from_zoo, advice=detector.fit_advice)
    return LoadedNetwork(network, detector)


def check_model_name(path: Path, name: Optional[str], config: Config) -> None:
    """Raises CheckpointError if the file names another model than the settings."""
    if name not in (None, config.model.model_name):
        raise CheckpointError(f"{path} holds a {name}, the configuration describes a {config.model.model_name}; give "
                              "the configuration of this model")


def _classes(path: Path, own: Optional[tuple[str, ...]], config: Config,
             classes_of_data: Optional[tuple[str, ...]]) -> tuple[str, ...]:
    given = None if config.data.classes is None else tuple(config.data.classes)
    if own is None:
        classes = given or classes_of_data
        if classes is None:
            raise ConfigError(f"{path} does not name its classes; add --classes NAME,NAME,... in the order it was "
                              "trained with")
        return classes
    if given is not None and given != own:
        raise ConfigError(f"{path} was trained on {counted(len(own), 'class')} ({_first_of(own)}), the configuration "
                          f"names {len(given)} ({_first_of(given)}); leave classes out to take the model's")
    return own


def _first_of(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
