"""A command line or a settings file -> the settings of a run."""
from __future__ import annotations

import sys
from pathlib import Path

from src.errors import ConfigError, UsageError
from src.model_utils.moxing_adapter import local_file
from src.models import MODELS, config_class, model
from src.settings.config import Config, build
from src.settings.files import read_file
from src.settings.flags import split_flags
from src.settings.help import help_text
from src.settings.old_keys import ALIASES


def read_config(path) -> Config:
    """The settings that a run or an export wrote beside its results."""
    return load_config(["--config_path", str(path)], "read")


def load_config(argv, command: str) -> Config:
    """Settings from the command line of `command` ("train", "eval", "export", "predict", "audit", ...).

    `--config_path` names the YAML file; without it `--model_name` picks the one that belongs to the model, and for
    eval, export and predict the settings that lie beside the model file will do.
    `--help` prints the settings and leaves. Raises UsageError or ConfigError.
    """
    arguments = list(argv)
    wants_help = any(argument in ("-h", "--help") for argument in arguments)
    flags = {setting.name: setting for setting in
             split_flags(argument for argument in arguments if argument not in ("-h", "--help"))}
    path_flag, name_flag = flags.pop("config_path", None), flags.get("model_name")
    path: Path | None
    if path_flag:
        path = local_file(path_flag.value)
    elif name_flag:
        path = model(name_flag.value).config_path
    else:
        path = None if command == "train" else _config_beside_model(flags)
    if path is None:
        if wants_help:
            _print_help(command, None)
        raise UsageError("no model given; add --config_path FILE or --model_name NAME "
                         f"(available: {', '.join(MODELS)})")
    file_settings = read_file(path)
    name = name_flag.value if name_flag else _model_name(file_settings, path)
    config = build(config_class(model(name).family), file_settings, list(flags.values()))
    if wants_help:
        _print_help(command, config)
    return config


def _config_beside_model(flags: dict):
    """The settings that a run or an export wrote beside the model file of the flags; None when there are none."""
    for name, setting in flags.items():
        if ALIASES.get(name, name) == "checkpoint_file_path":
            model_file = Path(str(setting.value))
            beside = (model_file.with_suffix(".yaml"), model_file.parent / "config.yaml",
                      model_file.parent.parent / "config.yaml")
            return next((path for path in beside if path.is_file()), None)
    return None


def _model_name(file_settings, path: Path) -> str:
    for setting in file_settings:
        if setting.name == "model_name":
            return str(setting.value)
    raise ConfigError(f"{path}: no model_name; add it to the section 'model' or give --model_name "
                      f"({', '.join(MODELS)})")


def _print_help(command: str, config) -> None:
    print(help_text(command, config, list(MODELS)))
    sys.exit(0)
