"""Reads settings from a YAML file: one of this project, in sections, or a flat one of the old zoo."""
from pathlib import Path

from src.errors import ConfigError
from src.settings import yaml_text
from src.settings.config import SECTIONS
from src.settings.given import Setting
from src.settings.old_keys import GROUPS, OLD_MODEL_NAMES


def read_file(path) -> list:
    """The Settings of a YAML file: one document in sections, or a flat file of the old zoo (values, help, choices).

    Raises ConfigError that names the file and, if known, the line.
    """
    path = Path(path)
    documents, lines = yaml_text.read(path)
    if not documents or not isinstance(documents[0], dict):
        raise ConfigError(f"{path}: no settings found; expected sections such as 'model:' with one key per line")
    if len(documents) > 3 or not all(isinstance(document, dict) for document in documents):
        raise ConfigError(f"{path}: expected one document, or the two or three of an old zoo file "
                          f"(values, help, choices); found {len(documents)}")
    settings = []
    for name, value in documents[0].items():
        if name in SECTIONS:
            if not isinstance(value, dict):
                raise ConfigError(f"{path}:{lines[name]}: '{name}' is a section and needs its keys below it, "
                                  f"found {value!r}")
            settings += [Setting(key, item, f"{path}:{lines[key]}", section=name) for key, item in value.items()]
        elif name in GROUPS and isinstance(value, dict):
            settings += [Setting(GROUPS[name].get(key, key), item, f"{path}:{lines[key]}", old_file=True)
                         for key, item in _old_group(value).items()]
        else:
            value = OLD_MODEL_NAMES.get(str(value), value) if name == "model_name" else value
            settings.append(Setting(name, value, f"{path}:{lines[name]}", old_file=True))
    return settings


def _old_group(group: dict) -> dict:
    """The keys of a group in an old file, including the inner groups that its values select (MultiDecay, Adam)."""
    named = [item for item in group.values() if isinstance(item, str)]
    inner = [item for name, item in group.items() if name in named and isinstance(item, dict)]
    plain = {key: item for key, item in group.items() if not isinstance(item, dict)}
    return {key: item for keys in (plain, *inner) for key, item in keys.items()}
