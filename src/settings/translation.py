"""Translates given settings to present keys: old spellings, switches and other entries of the old zoo's files."""
from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field, replace
from typing import Mapping, Optional, Sequence

from src.errors import ConfigError
from src.settings import yaml_text
from src.settings.given import Setting
from src.settings.old_keys import ALIASES, DEAD_KEYS, MODEL_FILE, NO_FLAGS, START, SWITCHES
from src.settings.schema import from_text

# Some old files have Python expressions as values; text like this is never a plain string.
_EXPRESSION = re.compile(r"\s*(lambda\b.*:|(np|numpy|math|ms|mindspore)\.\w+|(range|list|tuple|dict|float|int|eval)\()")
# The one expression of the shipped files: a list in brackets, which is read as such.
_ARRAY = re.compile(r"\s*np\.array\((\[[-+0-9.eE,\s\[\]]*\])(,\s*dtype=np\.\w+)?\)\s*", re.ASCII)

# The zoo's names of the ground truth of an evaluation; the second is also that of a file of text rows.
ANNOTATIONS = ("ann_file", "anno_path")


@dataclass(frozen=True)
class OldKeys:
    """Entries in files and flags of a family of the old zoo that are not read as settings.

    ignored: {key: why}. fixed: {key: (the values that are computed here, why)}; another value is an error, because the
    zoo computed something else with it. model_file: {program: its keys for the model file, of which the first that is
    not empty counts}, "train" for the checkpoint to start from; the other keys of that kind belong to other programs.
    """

    ignored: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, tuple[tuple, str]] = field(default_factory=dict)
    model_file: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Translation:
    """Settings of one source, translated to present names.

    known: {key: (section, field of the schema)}. program: whose settings they are. After `read`, `given` is what was
    given, {name: value}, `values` is {key: Setting}, and `dropped` {name: why} of what is ignored.
    """

    def __init__(self, known: Mapping, old: OldKeys, program: Optional[str]):
        self.known, self.old, self.program = known, old, program
        self.given: dict[str, object] = {}
        self.values: dict[str, Setting] = {}
        self.dropped: dict[str, str] = {}

    def read(self, settings: Sequence[Setting]) -> Translation:
        """Translate all; raises ConfigError for an unknown name, a wrong value of an old key, two values of one key."""
        expressions = []
        self.given.update((setting.name, _plain(setting.value)) for setting in settings)
        for setting in settings:
            setting = replace(setting, value=_plain(setting.value))
            if self._is_dropped(setting):
                continue
            key, value = self._key_and_value(setting)
            if isinstance(value, str) and _EXPRESSION.match(value):
                expressions.append(f"{setting.source}: {setting.name} holds the Python expression {value!r}")
            self._add(key, replace(setting, value=value), setting.value)
        if expressions:
            raise ConfigError("\n".join(expressions) + "\nExpressions are not evaluated; write the plain value (a "
                              "number, a text or a list) or leave the key out")
        return self

    def typed(self, key: str) -> object:
        """The value of a key, converted to its type; None if it was not given."""
        return _typed(self.values[key].value, self.known[key][1].annotation) if key in self.values else None

    def _add(self, key: str, setting: Setting, given: object) -> None:
        """given: its value before a switch was translated."""
        earlier = self.values.get(key)
        if earlier is not None and (setting.value in ("", None) or _is_ground_truth(earlier, key)):
            return      # old files list every spelling and leave the unused ones empty
        if earlier is not None and earlier.value not in ("", None) and not _is_ground_truth(setting, key) and (
                _typed(setting.value, self.known[key][1].annotation) != self.typed(key)):
            raise ConfigError(f"{setting.source}: {setting.name} = {given!r} contradicts {earlier.name} = "
                              f"{self.given[earlier.name]!r} ({earlier.source}); both mean {key}, give one of them")
        self.values[key] = setting

    def _is_dropped(self, setting: Setting) -> bool:
        """Whether a setting is ignored; records it in `dropped`. Raises ConfigError if ignoring it would be wrong."""
        name, reason = setting.name, None
        if setting.section is not None or name in self.known or setting.key in self.known:
            return False
        if setting.old_file and name in ALIASES and ALIASES[name] == MODEL_FILE and self.old.model_file:
            if setting.value in ("", None):
                return True
            reason = self._other_programs_model(name)
        elif name in self.old.fixed:
            values, reason = self.old.fixed[name]
            if _read(setting.value) not in values:
                raise ConfigError(f"{setting.source}: {name} = {setting.value!r}: here it is {_listed(values)} and "
                                  f"cannot be changed ({reason}); leave it out, or train with that value")
            return True     # nothing is lost
        elif name in self.old.ignored and (setting.old_file or name not in (*ALIASES, *SWITCHES, *NO_FLAGS)):
            reason = self.old.ignored[name]
        elif name == "ann_file":
            if setting.value in ("", None):
                return True
            reason = self._unused_annotations(setting)
        else:
            reason = DEAD_KEYS.get(name)
        if reason is None:
            return False
        self.dropped[name] = reason
        return True

    def _other_programs_model(self, name: str) -> Optional[str]:
        program = self.program if self.program in (*self.old.model_file, "train") else "eval"
        if name == self._model_file_of(program):
            return None
        owners = [f"{owner}.py" for owner in self.old.model_file if name == self._model_file_of(owner)]
        return f"is the checkpoint of {' and '.join(owners)}" if owners else "the zoo never read it"

    def _model_file_of(self, program: Optional[str]) -> Optional[str]:
        return next((name for name in self.old.model_file.get(program or "eval", ()) if self.given.get(name)), None)

    def _unused_annotations(self, setting: Setting) -> Optional[str]:
        if self.program == "train":
            return "is the ground truth of eval.py"
        if setting.old_file and not os.path.isfile(str(setting.value)):
            return f"{setting.value} does not exist; the ground truth is instances_set in coco_root"
        return None

    def _key_and_value(self, setting: Setting) -> tuple[str, object]:
        """(key, value) of a setting whose name may be an old spelling; raises ConfigError for an unknown name."""
        name, value = setting.name, setting.value
        if setting.key in self.known:
            return str(setting.key), value
        if name == "ann_file" or (name == "anno_path" and str(value).endswith(".json") and self.program != "train"):
            return "instances_set", os.path.abspath(str(value))  # coco_root would be put before a relative path
        if name in self.known:
            section = self.known[name][0]
            if setting.section not in (None, section):
                raise ConfigError(f"{setting.source}: {name} belongs in section '{section}', not '{setting.section}'")
            return name, value
        if name in SWITCHES:
            return _switched(setting)
        if ALIASES.get(name) in self.known:
            is_start = self.program == "train" and setting.old_file and self._model_file_of("train") == name
            return START if is_start else ALIASES[name], value
        nearest = difflib.get_close_matches(name, [*self.known, *ALIASES, *SWITCHES, "config_path"], n=1, cutoff=0.5)
        hint = f"; did you mean {nearest[0]}?" if nearest else "; --help lists all keys"
        raise ConfigError(f"{setting.source}: unknown key '{name}'{hint}")


def _is_ground_truth(setting: Setting, key: str) -> bool:
    """Whether a setting names the annotations of an evaluation, which win over those of the data set."""
    return key == "instances_set" and setting.name in ANNOTATIONS


def _switched(setting: Setting) -> tuple[str, object]:
    key, positions = SWITCHES[setting.name]
    position = _typed(setting.value, bool)
    if not isinstance(position, bool):
        raise ConfigError(f"{setting.source}: {setting.name} = {setting.value!r}; expected true | false")
    return key, positions[position]


def _typed(value: object, annotation: object) -> object:
    """The value as the schema will read it; text that cannot be read stays as it is, for the schema to refuse."""
    try:
        return from_text(value, annotation) if isinstance(value, str) else value
    except ConfigError:
        return value


def _read(value: object) -> object:
    """The plain value that a text stands for by the rules of YAML; a value that is no text as it is."""
    if not isinstance(value, str):
        return value
    try:
        documents, _ = yaml_text.parse(value, "value")
    except ConfigError:
        return value
    return documents[0] if documents else value


def _plain(value: object) -> object:
    """np.array([1, 2], dtype=...) of an old file as the list inside; everything else as it is."""
    found = _ARRAY.fullmatch(value) if isinstance(value, str) else None
    return _read(found.group(1)) if found else value


def _listed(values: tuple) -> str:
    return " or ".join(map(str, values))
