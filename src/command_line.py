"""Reads the settings of a run from a command line, a settings file, and what the model file was made with."""
from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Iterator, Sequence

from src.checkpoint import Statements, checkpoint_of_run, read_names
from src.conditions import OF_THE_BACKBONE, check_settings, statements_of
from src.errors import ConfigError, UsageError
from src.model_utils.moxing_adapter import local_file, stage_files
from src.models import FAMILIES, MODELS, build_detector, config_class, model, model_of_zoo
from src.settings.config import AUTOMATIC, Config, build, check_names, fields
from src.settings.files import read_file
from src.settings.flags import split_flags
from src.settings.given import Setting
from src.settings.help import PROGRAMS, help_text
from src.settings.old_keys import (
    ALIASES,
    MODEL_FILE,
    OF_PROGRAM,
    OLD_BACKBONES,
    OLD_BLOCKS,
    OLD_MODEL_NAMES,
    OTHER_BACKBONES,
    OTHER_MODELS,
    START,
)
from src.settings.schema import from_text

BACKBONE_FILE = "feature_extractor_base_param"
# Settings that name the file a program starts from, where it is not the model file.
STARTS_FROM: dict[str, tuple] = {"train": (START, MODEL_FILE, BACKBONE_FILE), "convert": (), "audit": ()}


def read_config(path) -> Config:
    """The settings file that a run or an export wrote beside its results."""
    return load_config(["--config_path", str(path)], "read")


def load_config(argv, command: str) -> Config:
    """Settings from the command line of `command` ("train", "eval", "export", "predict", "audit", ...).

    `--config_path` names the YAML file; without it `--model_name` picks the one that belongs to the model, and for
    eval, export and predict the settings that lie beside the model file will do, or those that it names itself.
    What the model file (for train: pre_trained) was made with wins over the values of a model's own YAML file. Raises
    ConfigError where it contradicts another file or a flag.
    `--help` prints the program's settings and leaves, `--help all` prints all. Raises UsageError or ConfigError.
    """
    arguments, help_wanted = _without_help(argv)
    flags = {setting.name: setting for setting in split_flags(arguments)}
    path_flag, name_flag = flags.pop("config_path", None), _model_flag(flags)
    names = STARTS_FROM.get(command, (MODEL_FILE,))
    model_flag = next((flags[key] for name in names for key in flags if ALIASES.get(key, key) == name), None)
    model_file, said = _said_by(model_flag)
    path: Path | None = None
    if path_flag:
        path = local_file(path_flag.value)
    elif not name_flag and model_flag and command != "train":
        path = _config_beside(Path(str(model_flag.value)))
    file_is_given = path is not None
    if name_flag and not file_is_given:
        path = model(str(name_flag.value)).config_path
    elif not file_is_given and said.model_name in MODELS:
        path = MODELS[said.model_name].config_path
    elif not file_is_given and (of_zoo := _zoo_model(model_file)):
        path = MODELS[of_zoo].config_path
    if path is None and not help_wanted and (path := _default_config()) is not None:
        file_is_given = True
    if path is None:
        if help_wanted:
            _print_help(command, None, help_wanted)
        check_names(flags.values(), [config_class(family) for family in FAMILIES])
        raise UsageError(_no_settings(command, model_flag))
    file_settings = [setting for setting in read_file(path) if setting.name != "insist"]    # it is of one call
    if not {setting.name for setting in file_settings} & set(OF_PROGRAM.get(command, {}).values()):
        file_settings = _as_meant_by(command, file_settings)
    name = _model_name(file_settings, path, name_flag)
    if not any(setting.name == "model_name" for setting in file_settings):
        file_settings.append(Setting("model_name", name, str(path), old_file=True))
    given = _as_meant_by(command, list(flags.values()))
    if command == "train":
        given = list(map(_start, given))
    family = config_class(model(name).family)
    made_with = said.conditions if said.model_name == name else {}
    taken = set(fields(family))
    if model_flag and model_flag.name == BACKBONE_FILE:
        taken &= set(OF_THE_BACKBONE)   # whatever else it was made with belongs to another detector
    trained = [Setting(key, value, str(model_file)) for key, value in made_with.items() if key in taken]
    if _is_automatic(file_settings, given):     # a file's values were not what such a model was trained with
        file_settings = [setting for setting in file_settings
                         if setting.name not in AUTOMATIC or setting.name not in made_with]
    config = build(family, file_settings, given, command, trained, file_is_given)
    if help_wanted:
        _print_help(command, config, help_wanted)
    if made_with:
        _check_made_with(model_file, said, config, OF_THE_BACKBONE if command == "train" else None)
    return config


def _is_automatic(file_settings: list[Setting], flags: list[Setting]) -> bool:
    """Whether --auto is on, which the flag decides before the file."""
    given = [setting.value for setting in (*file_settings, *flags) if setting.name == "auto"]
    return bool(given) and from_text(str(given[-1]), bool) is True


@contextlib.contextmanager
def staged_config(argv: Sequence[str], command: str) -> Iterator[Config]:
    """Context manager: `load_config` and `stage_files`. What a model file was made with is taken from it as well where
    ModelArts fetches it. Raises the errors of both."""
    with stage_files(load_config(argv, command)) as config:
        yield _with_settings_of_fetched(config, argv, command)


def _with_settings_of_fetched(config: Config, argv: Sequence[str], command: str) -> Config:
    """The configuration with what the model file was made with that was fetched after the settings had been read."""
    settings = {key: value for section in config.model_dump().values() for key, value in section.items()}
    names = STARTS_FROM.get(command, (MODEL_FILE,))
    name = next((name for name in names if settings.get(name)), None)
    if not (settings["enable_modelarts"] and settings["checkpoint_url"] and name and os.path.isfile(settings[name])):
        return config
    replaced = {START, MODEL_FILE} if name in (START, MODEL_FILE) else {name}
    flags = [flag for flag in split_flags(argv) if ALIASES.get(flag.name, flag.name) not in replaced]
    again = load_config([*(f"--{flag.name}={flag.value}" for flag in flags), f"--{name}={settings[name]}"], command)
    read = {key: value for section in again.model_dump().values() for key, value in section.items()}
    return config.replace(**{key: read[key] for key in statements_of(Path(settings[name])).conditions if key in read})


def _default_config() -> Path | None:
    """default_config.yaml in the current folder, which the zoo's programs took without --config_path; said in one line.
    """
    path = Path("default_config.yaml")
    if not os.path.isfile(path):
        return None
    print(f"settings: {path.resolve()}")
    return path


def _zoo_model(path: Path) -> str | None:
    """The model that a checkpoint of the old zoo holds, by the names of its parameters; said in one line."""
    name = model_of_zoo(read_names(path)) if path.suffix.lower() == ".ckpt" and os.path.isfile(path) else None
    if name:
        print(f"{path} is a checkpoint of the old zoo, of a model {name}")
    return name


def _as_meant_by(command: str, settings: list[Setting]) -> list[Setting]:
    """The settings with the present name of a key whose meaning depends on the program."""
    meant = OF_PROGRAM.get(command, {})
    return [replace(setting, key=meant[setting.name]) if setting.name in meant and setting.value not in ("", None)
            else setting for setting in settings]


def _start(flag: Setting) -> Setting:
    """The flag for train.py, where a model file is the checkpoint to start from."""
    return replace(flag, key=START) if ALIASES.get(flag.name, flag.name) == MODEL_FILE else flag


def _model_flag(flags: dict[str, Setting]) -> Setting | None:
    """The flag that chooses the model, under today's name; `flags` has model_name, too, where an old one chooses it.

    Raises ConfigError where two flags choose two models, or the backbone is none that is offered.
    """
    chosen = None
    for flag in list(flags.values()):
        name = _model_of(flag)
        if name is None:
            continue
        if chosen and name != chosen.value:
            raise ConfigError(f"{flag.source} {flag.value} means model {name}, {chosen.source} means {chosen.value}; "
                              "give one of them")
        chosen = Setting("model_name", name, flag.source)
        del flags[flag.name]
    if chosen:
        flags["model_name"] = chosen
    return chosen


def _model_of(setting: Setting) -> str | None:
    """The model that a setting chooses; raises ConfigError for a model or backbone of the zoo that is not offered."""
    value = setting.value
    if ALIASES.get(setting.name, setting.name) == "model_name":
        if value in OTHER_MODELS:
            raise ConfigError(f"{setting.source}: model {value} ({OTHER_MODELS[str(value)]}) is not offered; choose "
                              f"one of {', '.join(MODELS)}")
        return OLD_MODEL_NAMES.get(str(value), str(value))
    if setting.name == "block_class" and isinstance(value, list):
        return OLD_BLOCKS.get(tuple(value))
    if setting.name != "backbone":
        return None
    if value not in OLD_BACKBONES:
        known = f"backbone {value} ({OTHER_BACKBONES[str(value)]}) is not offered" if value in OTHER_BACKBONES \
            else f"unknown backbone {value!r}"
        raise ConfigError(f"{setting.source}: {known}; choose one of {', '.join(OLD_BACKBONES)}")
    return OLD_BACKBONES[str(value)]


def _check_made_with(path: Path, said: Statements, config: Config, only: Sequence[str] | None) -> None:
    """check_settings of what a model file says; norm_eps is left to those who build the network."""
    made_with = {key: value for key, value in said.conditions.items() if key != "norm_eps"}
    try:
        have = build_detector(config, config.data.classes or said.classes).conditions()
    except ConfigError:     # settings that contradict each other, for the most part because they contradict the file
        check_settings(path, made_with, {}, config, only)
        raise
    check_settings(path, made_with, have, config, only)


def _said_by(model_flag: Setting | None) -> tuple[Path, Statements]:
    """(the model file that a flag names, what it says about itself), which is nothing where there is no such file."""
    path = Path(str(model_flag.value)) if model_flag else Path()
    if model_flag and os.path.isdir(path):
        path = checkpoint_of_run(path) or path
    return path, statements_of(path) if os.path.isfile(path) else Statements()


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
    """The message if nothing names the model."""
    example = f"for example: {PROGRAMS[command].example}"
    if model_flag is None or command == "train":
        return f"no model given; add --config_path FILE or --model_name NAME ({', '.join(MODELS)}), {example}"
    if not os.path.exists(str(model_flag.value)):
        return f"model {model_flag.value} does not exist; check --{model_flag.name}"
    return (f"no settings (.yaml) lie beside {model_flag.value}; add --config_path FILE or --model_name NAME "
            f"({', '.join(MODELS)})")


def _model_name(file_settings: list[Setting], path: Path, flag: Setting | None) -> str:
    """The model of the flag, else of the file. Raises ConfigError where neither names one, or where an old file
    describes the backbone of another one than the flag names."""
    found = {setting.name: (setting, name) for setting in file_settings if (name := _model_of(setting))}
    if flag is None:
        if not found:
            raise ConfigError(f"{path}: no model_name; add it to the section 'model' or give --model_name "
                              f"({', '.join(MODELS)})")
        return next(iter(found.values()))[1]
    for setting, name in found.values():
        if setting.name != "model_name" and name != flag.value and "--backbone" not in flag.source:
            raise ConfigError(f"{setting.source}: {setting.name} {setting.value} means model {name}, {flag.source} "
                              f"names {flag.value}; leave the flag out, or give the file of that model")
    return str(flag.value)


def _print_help(command: str, config: Config | None, wanted: str) -> None:
    print(help_text(command, config, list(MODELS), everything=wanted == "all"))
    sys.exit(0)
