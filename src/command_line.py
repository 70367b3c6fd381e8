"""A command line or a settings file -> the settings of a run."""
from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from src.errors import ConfigError, UsageError
from src.model_utils.moxing_adapter import local_file
from src.models import FAMILIES, MODELS, config_class, model
from src.settings.config import Config, build, check_names
from src.settings.files import read_file
from src.settings.flags import split_flags
from src.settings.given import Setting
from src.settings.help import PROGRAMS, help_text
from src.settings.old_keys import ALIASES, MODEL_FILE, OF_PROGRAM, START, STARTS_IN_OLD_FILES


def read_config(path) -> Config:
    """The settings that a run or an export wrote beside its results."""
    return load_config(["--config_path", str(path)], "read")


def load_config(argv, command: str) -> Config:
    """Settings from the command line of `command` ("train", "eval", "export", "predict", "audit", ...).

    `--config_path` names the YAML file; without it `--model_name` picks the one that belongs to the model, and for
    eval, export and predict the settings that lie beside the model file will do.
    `--help` prints the program's settings and leaves, `--help all` prints all. Raises UsageError or ConfigError.
    """
    arguments, help_wanted = _without_help(argv)
    flags = {setting.name: setting for setting in split_flags(arguments)}
    path_flag, name_flag = flags.pop("config_path", None), flags.get("model_name")
    model_flag = next((flag for name, flag in flags.items() if ALIASES.get(name, name) == "checkpoint_file_path"), None)
    path: Path | None = None
    if path_flag:
        path = local_file(path_flag.value)
    elif name_flag:
        path = model(name_flag.value).config_path
    elif model_flag and command != "train":
        path = _config_beside(Path(str(model_flag.value)))
    if path is None:
        if help_wanted:
            _print_help(command, None, help_wanted)
        check_names(flags.values(), [config_class(family) for family in FAMILIES])
        raise UsageError(_no_settings(command, model_flag))
    file_settings = read_file(path)
    if not {setting.name for setting in file_settings} & set(OF_PROGRAM.get(command, {}).values()):
        file_settings = _as_meant_by(command, file_settings)
    name = name_flag.value if name_flag else _model_name(file_settings, path)
    given = _as_meant_by(command, list(flags.values()))
    if command == "train":
        file_settings, given = list(map(_start, file_settings)), list(map(_start, given))
    config = build(config_class(model(name).family), file_settings, given)
    if help_wanted:
        _print_help(command, config, help_wanted)
    return config


def _as_meant_by(command: str, settings: list[Setting]) -> list[Setting]:
    """The settings with today's name of a key that means something else in each program."""
    meant = OF_PROGRAM.get(command, {})
    return [replace(setting, key=meant[setting.name]) if setting.name in meant and setting.value not in ("", None)
            else setting for setting in settings]


def _start(setting: Setting) -> Setting:
    """The setting as train.py means it: a model file that is given to it is the checkpoint to start from.

    In files only where the zoo's train.py read it; the others name the model of eval.py and export.py.
    """
    is_flag = setting.section is None and not setting.old_file
    is_start = ALIASES.get(setting.name, setting.name) == MODEL_FILE if is_flag else (
        setting.old_file and setting.name in STARTS_IN_OLD_FILES)
    return replace(setting, key=START) if is_start else setting


def _without_help(argv) -> tuple[list[str], str]:
    """The arguments without --help, and "", "own" or "all" for what help is wanted."""
    arguments, wanted = [], ""
    for argument in argv:
        if argument in ("-h", "--help"):
            wanted = wanted or "own"
        elif argument == "all" and wanted == "own":
            wanted = "all"
        else:
            arguments.append(argument)
    return arguments, wanted


def _config_beside(model_path: Path) -> Path | None:
    """The settings that a run or an export wrote beside a model file, or into the run folder that is named."""
    beside = (model_path / "config.yaml", model_path.with_suffix(".yaml"), model_path.parent / "config.yaml",
              model_path.parent.parent / "config.yaml")
    return next((path for path in beside if path.is_file()), None)


def _no_settings(command: str, model_flag: Setting | None) -> str:
    """The message where nothing says which model is meant."""
    example = f"for example: {PROGRAMS[command].example}"
    if model_flag is None or command == "train":
        return f"no model given; add --config_path FILE or --model_name NAME ({', '.join(MODELS)}), {example}"
    if not Path(str(model_flag.value)).exists():
        return f"model {model_flag.value} does not exist; check --{model_flag.name}"
    return (f"no settings (.yaml) lie beside {model_flag.value}; add --config_path FILE or --model_name NAME "
            f"({', '.join(MODELS)})")


def _model_name(file_settings, path: Path) -> str:
    for setting in file_settings:
        if setting.name == "model_name":
            return str(setting.value)
    raise ConfigError(f"{path}: no model_name; add it to the section 'model' or give --model_name "
                      f"({', '.join(MODELS)})")


def _print_help(command: str, config: Config | None, wanted: str) -> None:
    print(help_text(command, config, list(MODELS), everything=wanted == "all"))
    sys.exit(0)
