"""Configuration of a run: flags win over the YAML file, the file over the schema's defaults; all values are checked."""
import sys
from pathlib import Path
from typing import ClassVar, Iterable, Mapping, Optional, Sequence

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from src.errors import ConfigError
from src.files import write_file
from src.printable import without_secrets
from src.settings import yaml_text
from src.settings.data_formats import DATA_FORMATS
from src.settings.given import Setting
from src.settings.schema import (
    DataSection,
    EvalSection,
    ExportSection,
    ModelArtsSection,
    ModelSection,
    OptimizerSection,
    RuntimeSection,
    TrainSection,
    type_name,
)
from src.settings.translation import OldKeys, Translation

# Settings of the training sections that may change between a stop and --resume: paths, how often something is
# written, number of workers. They do not change the weights of step N.
_FREE_TO_CHANGE = frozenset((
    *(key for row in DATA_FORMATS.values() for key in (*row.paths, *row.validation)), "data_root", "val_list",
    "mindrecord_dir", "mindrecord_shards", "rebuild_mindrecord", "only_create_dataset", "num_parallel_workers",
    "python_multiprocessing",
    "train_steps", "pre_trained", "save_checkpoint_epochs", "save_checkpoint_steps", "keep_checkpoint_max", "run_eval",
    "eval_start_epoch", "eval_interval", "save_best_ckpt", "early_stop_patience", "log_interval",
    "max_nonfinite_steps", "auto",
))

# What --auto computes from the training data. With it the values in a settings file are no more than a beginning.
AUTOMATIC = frozenset((
    "min_scale", "aspect_ratios", "num_default", "match_threshold", "zoom_out", "anchor_scales", "anchor_ratios",
    "num_gts", "max_objs", "epoch_size", "warmup_epochs", "warmup_step", "milestones", "warmup_steps", "multi_epochs",
    "ema_decay", "eval_start_epoch", "eval_interval",
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

    old_keys: ClassVar[OldKeys] = OldKeys()  # of the family's files in the old zoo
    _sources: dict = PrivateAttr(default_factory=dict)  # {key: "file.yaml:12" or "flag --key"} of what was given

    @classmethod
    def meant_by_the_zoo(cls, file: Translation, flags: Translation, old_file: bool) -> dict:  # noqa: ARG003
        """{key: value} of settings that an old zoo file implies. old_file: whether the file is the zoo's.

        Raises ConfigError if the file describes a network that is not available.
        """
        return {}

    def replace(self, **values) -> "Config":
        """A copy with other values, which are checked: `config.replace(epoch_size=2)`."""
        return self.replaced_by("argument", values)

    def replaced_by(self, source: str, values: dict) -> "Config":
        """The same with values that `source_of` says to come from `source`."""
        given = [Setting(key, value, source) for key, value in values.items()]
        current = [Setting(key, value, self.source_of(key)) for key, value in self.values().items()]
        return build(type(self), current, given)

    def values(self) -> dict:
        """{key: value} of all sections."""
        return {key: value for section in self.model_dump().values() for key, value in section.items()}

    def source_of(self, key: str) -> str:
        """Where a setting was given: "file.yaml:12", "flag --key"; "the default" where it was not."""
        return self._sources.get(key, "the default")

    def fixed_by_user(self, key: str) -> bool:
        """Whether a setting was given as a flag, or by a program, so that nothing computed replaces it."""
        return self.source_of(key).startswith(("flag ", "argument"))

    def dump_yaml(self) -> str:
        """YAML text of all settings; loading it gives an equal configuration, but for credentials, which it lacks."""
        return yaml_text.dump({name: {key: _shown(value) for key, value in section.items()}
                               for name, section in self.model_dump().items()})

    def write(self, path: Path) -> None:
        """Write `dump_yaml` to `path`, completely or not at all, without device_id, which belongs to this process."""
        runtime = self.runtime.model_copy(update={"device_id": None})
        write_file(path, self.model_copy(update={"runtime": runtime}).dump_yaml())

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


def build(config_class, file_settings: list, flag_settings: list, program: Optional[str] = None,
          made_with: Sequence[Setting] = (), file_is_given: bool = True) -> Config:
    """The checked configuration. Raises ConfigError that names the file and line, or the flag, of a wrong value.

    program: the program that got the settings, because some old ones mean something else in another program; None =
    only present settings. made_with: what a model file was made with, which wins over the settings file unless the user
    gave that one. Keys that are no longer used are named in one warning on standard error.
    """
    known = fields(config_class)
    file, flags = (Translation(known, config_class.old_keys, program).read(settings)
                   for settings in (file_settings, flag_settings))
    of_model = {setting.name: setting for setting in made_with}
    values = {**of_model, **file.values} if file_is_given else {**file.values, **of_model}
    values.update(flags.values)
    if program is not None:
        old_file = any(setting.old_file for setting in file_settings)
        meant = config_class.meant_by_the_zoo(file, flags, old_file)
        values.update({key: Setting(key, value, "the old zoo") for key, value in meant.items()})
        if meant:
            listed = ", ".join(f"{key} {'none' if value is None else value}" for key, value in meant.items())
            print(f"settings as they are meant in the old zoo: {listed}", file=sys.stderr)
    dropped = {**file.dropped, **flags.dropped}
    if dropped:
        names: dict[str, list] = {}
        for name, reason in sorted(dropped.items()):
            names.setdefault(reason, []).append(name)
        listed = "; ".join(f"{', '.join(group)} ({reason})" for reason, group in names.items())
        print(f"warning: ignored settings: {listed}", file=sys.stderr)
    nested: dict[str, dict] = {section: {} for section in SECTIONS}
    for key, setting in values.items():
        nested[known[key][0]][key] = setting.value
    try:
        config = config_class.model_validate(nested)
        config._sources.update({key: setting.source for key, setting in values.items()})
        return config
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, values, known) for item in error.errors()[:10])) from None


def check_names(settings: Iterable[Setting], config_classes: Iterable[type[Config]]) -> None:
    """Raises ConfigError with the nearest name for a setting that none of the families has."""
    classes = list(config_classes)
    known = {key: place for config_class in classes for key, place in fields(config_class).items()}
    ignored = {key: why for config_class in classes for key, why in config_class.old_keys.ignored.items()}
    ignored.update({key: why for config_class in classes for key, (_, why) in config_class.old_keys.fixed.items()})
    for setting in settings:
        Translation(known, OldKeys(ignored), None).read([setting])


def _explain(error: Mapping, values: dict, known: dict) -> str:
    """The message for one schema error: source, key, value and what is expected."""
    section, *rest = error["loc"]
    if not rest:
        return f"section {section}: {_reason(error)}"
    key = rest[0]
    expected = type_name(known[key][1].annotation)
    if key not in values:
        return f"{key} is required (section {section}, {expected}); add it to the YAML file or give --{key}"
    value = without_secrets(repr(values[key].value))     # before it is cut
    shown = value if len(value) <= 80 else value[:77] + "..."
    return f"{values[key].source}: {values[key].name} = {shown}: {_reason(error)}; expected {expected}"


def _shown(value: object) -> object:
    """The value as it may be written down."""
    return without_secrets(value) if isinstance(value, str) else value


def _reason(error: Mapping) -> str:
    message = error["msg"]
    prefix = "Value error, "
    return message[len(prefix):] if message.startswith(prefix) else message[:1].lower() + message[1:]


