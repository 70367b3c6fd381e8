"""A model file and a configuration -> a Predictor."""
from __future__ import annotations

import json
from pathlib import Path

from src.checkpoint import Weights, is_list_of_names, load_weights, read_weights
from src.conditions import check_conditions
from src.errors import CheckpointError, ConfigError, UsageError
from src.evaluation.predictor import Predictor, mindir_runner, network_runner, onnx_runner
from src.model_utils.device_adapter import set_device
from src.models import build_detector

ENDINGS = (".ckpt", ".mindir", ".onnx")


def check_model_path(path: str | None) -> Path:
    """The model file of a command; raises UsageError when it is missing or of an unknown kind."""
    if not path:
        raise UsageError(f"no model given; add --model_path FILE ({', '.join(ENDINGS)})")
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: unknown kind of model '{path.suffix}'; it has to end in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise UsageError(f"model {path} does not exist; check --model_path")
    return path


def check_exported(path: str | None) -> Path:
    """`check_model_path` of a command that needs the description beside an exported model."""
    path = check_model_path(path)
    if path.suffix.lower() == ".ckpt":
        raise UsageError(f"{path} is a checkpoint; give the .mindir or .onnx that was exported from it")
    return path


def choose_device(config, path: Path) -> None:
    """MindSpore's device, unless one process runs an ONNX file, which it does without MindSpore."""
    if path.suffix.lower() != ".onnx" or config.runtime.run_distribute:
        set_device(config.runtime)


def open_predictor(config, path: Path, classes_of_data: tuple | None = None) -> Predictor:
    """The predictor of a checkpoint, MindIR or ONNX file.

    classes_of_data: class names to take when the file does not name its own (checkpoints of the old zoo).
    Raises CheckpointError for a damaged file, or one of another model; ConfigError when its classes are not those of
    the configuration.
    """
    if path.suffix.lower() == ".ckpt":
        weights = read_weights(path)
        network, detector = load_network(config, weights, classes_of_data)
        return Predictor(detector, network_runner(detector.inference(network)), config.eval.eval_batch_size)
    sidecar = read_sidecar(path)
    detector = exported_detector(config, path, sidecar, classes_of_data)
    if path.suffix.lower() == ".onnx":
        run, (batch_size, _, *size) = onnx_runner(path, config.runtime.device_target)
        check_input_size(path, size, detector)
    else:
        run, batch_size = mindir_runner(path), sidecar.get("batch_size", 1)
    return Predictor(detector, run, batch_size, one_shape=True)


def exported_detector(config, path: Path, sidecar: dict, classes_of_data: tuple | None = None):
    """The detector of a MindIR or ONNX file, which is not opened. Raises what `open_predictor` raises."""
    check_model_name(path, sidecar.get("model_name"), config)
    detector = build_detector(config, _classes(path, sidecar.get("classes"), config, classes_of_data))
    if sidecar:
        check_input_size(path, [sidecar["input"]["height"], sidecar["input"]["width"]], detector)
    return detector


def check_input_size(path: Path, size: list, detector) -> None:
    if size != list(detector.input_shape[1:]):
        raise ConfigError(f"{path} was exported for an input of {size}, the configuration says "
                          f"{list(detector.input_shape[1:])}; use the configuration it was exported with")


def load_network(config, weights: Weights, classes_of_data: tuple | None = None) -> tuple:
    """(network with these weights, its detector)."""
    check_model_name(weights.path, weights.model_name, config)
    detector = build_detector(config, _classes(weights.path, weights.classes, config, classes_of_data))
    network = detector.network()
    check_conditions(weights, network, detector)
    load_weights(network, weights, detector.from_zoo, advice=detector.fit_advice)
    return network, detector


def check_model_name(path: Path, name: str | None, config) -> None:
    if name not in (None, config.model.model_name):
        raise CheckpointError(f"{path} holds a {name}, the configuration describes a {config.model.model_name}; give "
                              "the configuration of this model")


def model_classes(path: Path) -> tuple | None:
    """The class names that a model file names itself, None if it does not."""
    if path.suffix.lower() == ".ckpt":
        return read_weights(path).classes
    classes = read_sidecar(path).get("classes")
    return None if classes is None else tuple(classes)


def _classes(path: Path, own: tuple | None, config, classes_of_data: tuple | None) -> tuple:
    given = None if config.data.classes is None else tuple(config.data.classes)
    if own is None:
        classes = given or classes_of_data
        if classes is None:
            raise ConfigError(f"{path} does not name its classes; add --classes NAME,NAME,... in the order it was "
                              "trained with")
        return classes
    own = tuple(own)
    if given is not None and given != own:
        raise ConfigError(f"{path} was trained on {len(own)} classes ({_some(own)}), the configuration names "
                          f"{len(given)} ({_some(given)}); leave classes out to take the model's")
    return own


def _some(names: tuple) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def read_sidecar(path: Path) -> dict:
    """The json that export.py wrote beside a model; empty when there is none."""
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return {}
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{sidecar} is not valid json: {error}; export the model again") from None
    wrong = _wrong_part(content)
    if wrong:
        raise CheckpointError(f"{sidecar} does not describe a model ({wrong}); export the model again")
    return content


def read_description(path: Path) -> dict:
    """`read_sidecar` of a file that cannot be used without it."""
    content = read_sidecar(path)
    outputs = content.get("outputs")
    if not isinstance(outputs, list) or not all(isinstance(output, dict) and isinstance(output.get("shape"), list)
                                                for output in outputs):
        raise CheckpointError(f"{path.with_suffix('.json')} does not exist or is of an earlier version, and "
                              f"it says how {path.name} is run; export the model again")
    return content


def _wrong_part(content) -> str:
    """What of a sidecar is not of the kind that export.py writes; empty when all is."""
    if not isinstance(content, dict):
        return "it is no dictionary"
    if not is_list_of_names(content.get("classes")) or not content["classes"]:
        return "classes"
    if not isinstance(content.get("model_name"), str):
        return "model_name"
    if not _is_count(content.get("batch_size")):
        return "batch_size"
    size = content.get("input")
    if not isinstance(size, dict) or not (_is_count(size.get("height")) and _is_count(size.get("width"))):
        return "input"
    return "" if isinstance(content.get("files", {}), dict) else "files"


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
