"""Configuration of a run: flags win over the YAML file, the file over the schema's defaults; all values are checked."""
import difflib
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from src.errors import ConfigError
from src.files import write_file
from src.settings import yaml_text
from src.settings.data_formats import DATA_FORMATS
from src.settings.given import Setting
from src.settings.old_keys import ALIASES, DEAD_KEYS, SWITCHES
from src.settings.schema import (
    DataSection,
    EvalSection,
    ExportSection,
    ModelArtsSection,
    ModelSection,
    OptimizerSection,
    RuntimeSection,
    TrainSection,
    from_text,
    type_name,
)

# Some old files hold Python expressions as values. Text like this is never meant as text.
_EXPRESSION = re.compile(r"\s*(lambda\b.*:|(np|numpy|math|ms|mindspore)\.\w+|(range|list|tuple|dict|float|int|eval)\()")

# Settings of the training sections that may change between a stop and --resume: paths, how often something is
# written, number of workers. They do not change the weights of step N.
_FREE_TO_CHANGE = frozenset((
    *(key for row in DATA_FORMATS.values() for key in (*row.paths, *row.validation)), "data_root", "val_list",
    "mindrecord_dir", "mindrecord_shards", "rebuild_mindrecord", "only_create_dataset", "num_parallel_workers",
    "python_multiprocessing",
    "train_steps", "pre_trained", "save_checkpoint_epochs", "save_checkpoint_steps", "keep_checkpoint_max", "run_eval",
    "eval_start_epoch", "eval_interval", "save_best_ckpt", "early_stop_patience", "log_interval",
    "max_nonfinite_steps",
))


class Config(BaseModel):
    """All settings of one run. A family's subclass replaces the sections that it extends."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: ModelSection
    data: DataSection = Field(default_factory=DataSection)
    train: TrainSection = Field(default_factory=TrainSection)
    optimizer: OptimizerSection = Field(default_factory=OptimizerSection)
    eval: EvalSection = Field(default_factory=EvalSection)
    export: ExportSection = Field(default_factory=ExportSection)
    runtime: RuntimeSection = Field(default_factory=RuntimeSection)
    modelarts: ModelArtsSection = Field(default_factory=ModelArtsSection)

    # {key of the family's old files: why it is ignored}, also where it is a spelling of another key elsewhere.
    dead_in_old_files: ClassVar[dict] = {}

    def replace(self, **values) -> "Config":
        """A copy with other values, which are checked: `config.replace(epoch_size=2)`."""
        given = [Setting(key, value, "argument") for key, value in values.items()]
        current = [Setting(key, value, "configuration")
                   for section in self.model_dump().values() for key, value in section.items()]
        return build(type(self), current, given)

    def dump_yaml(self) -> str:
        """YAML text of all settings; loading it gives an equal configuration."""
        return yaml_text.dump(self.model_dump())

    def write(self, path: Path) -> None:
        """Write `dump_yaml` to `path`, completely or not at all."""
        write_file(path, self.dump_yaml())

    def differences(self, other: "Config") -> list:
        """Settings that change the weights and differ in `other`: ["lr: 0.05 before, 0.1 now", ...]."""
        before, now = self._decisive(), other._decisive()
        return [f"{key}: {before.get(key)} before, {now.get(key)} now" for key in {**before, **now}
                if before.get(key) != now.get(key)]

    def _decisive(self) -> dict:
        return {key: value for name, section in self.model_dump().items()
                if name in ("model", "data", "train", "optimizer")
                for key, value in section.items() if key not in _FREE_TO_CHANGE}

    def __eq__(self, other):
        return type(self) is type(other) and self.model_dump() == other.model_dump()


SECTIONS = tuple(Config.model_fields)


def fields(config_class) -> dict:
    """{key: (section name, pydantic field)} in the order of the schema."""
    return {key: (name, field)
            for name, section in config_class.model_fields.items()
            for key, field in section.annotation.model_fields.items()}


def build(config_class, file_settings: list, flag_settings: list) -> Config:
    """The checked configuration. Raises ConfigError that names the file and line, or the flag, of a wrong value.

    Keys that are no longer used are named in one warning on standard error.
    """
    known, values = fields(config_class), {}
    dead: dict[str, str] = {}
    for settings in (file_settings, flag_settings):
        values.update(_translate(settings, known, config_class.dead_in_old_files, dead))
    if dead:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in sorted(dead.items()))
        print(f"warning: ignored settings: {reasons}", file=sys.stderr)
    nested: dict[str, dict] = {section: {} for section in SECTIONS}
    for key, setting in values.items():
        nested[known[key][0]][key] = setting.value
    try:
        return config_class.model_validate(nested)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, values, known) for item in error.errors()[:10])) from None


def check_names(settings: Iterable[Setting], config_classes: Iterable[type[Config]]) -> None:
    """Raises ConfigError with the nearest name for a setting that none of the families has."""
    known = {key: place for config_class in config_classes for key, place in fields(config_class).items()}
    for setting in settings:
        if setting.name not in DEAD_KEYS:
            _current_name(setting, known)


def _translate(settings: list, known: dict, dead_in_old_files: dict, dead: dict) -> dict:
    """{key: Setting} under today's names. Adds {ignored name: reason} to `dead`."""
    found: dict[str, Setting] = {}
    expressions = []
    for setting in settings:
        name = setting.name
        if name not in known and name in DEAD_KEYS:
            dead[name] = DEAD_KEYS[name]
            continue
        if setting.old_file and name in dead_in_old_files:
            dead[name] = dead_in_old_files[name]
            continue
        key, value = _current_name(setting, known)
        if isinstance(value, str) and _EXPRESSION.match(value):
            expressions.append(f"{setting.source}: {name} holds the Python expression {value!r}")
        setting = replace(setting, value=value)
        earlier = found.setdefault(key, setting)
        if earlier.value in ("", None):     # old files list every spelling and leave the unused ones empty
            found[key] = setting
        elif value not in ("", None) and value != earlier.value:
            raise ConfigError(f"{setting.source}: {name} = {value!r} contradicts {earlier.name} = {earlier.value!r} "
                              f"({earlier.source}); both mean {key}, give one of them")
    if expressions:
        raise ConfigError("\n".join(expressions) + "\nExpressions are not evaluated; write the plain value (a number, "
                          "a text or a list) or leave the key out")
    return found


def _current_name(setting: Setting, known: dict) -> tuple[str, Any]:
    """(key, value) of a setting whose name may be an old spelling; raises ConfigError for an unknown name."""
    name, value = setting.name, setting.value
    if setting.key is not None and setting.key in known:
        return setting.key, value
    if name in known:
        section = known[name][0]
        if setting.section not in (None, section):
            raise ConfigError(f"{setting.source}: {name} belongs in section '{section}', not '{setting.section}'")
        return name, value
    if ALIASES.get(name) in known:
        return ALIASES[name], value
    if name in SWITCHES:
        key, positions = SWITCHES[name]
        position = from_text(value, bool) if isinstance(value, str) else value
        if not isinstance(position, bool):
            raise ConfigError(f"{setting.source}: {name} = {value!r}; expected true | false")
        return key, positions[position]
    nearest = difflib.get_close_matches(name, [*known, *ALIASES, *SWITCHES, "config_path"], n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else "; --help lists all keys"
    raise ConfigError(f"{setting.source}: unknown key '{name}'{hint}")


def _explain(error: Mapping, values: dict, known: dict) -> str:
    """The message for one schema error: source, key, value, what is expected."""
    section, *rest = error["loc"]
    if not rest:
        return f"section {section}: {_reason(error)}"
    key = rest[0]
    expected = type_name(known[key][1].annotation)
    if key not in values:
        return f"{key} is required (section {section}, {expected}); add it to the YAML file or give --{key}"
    value = repr(values[key].value)
    shown = value if len(value) <= 80 else value[:77] + "..."
    return f"{values[key].source}: {values[key].name} = {shown}: {_reason(error)}; expected {expected}"


def _reason(error: Mapping) -> str:
    message = error["msg"]
    prefix = "Value error, "
    return message[len(prefix):] if message.startswith(prefix) else message[:1].lower() + message[1:]


