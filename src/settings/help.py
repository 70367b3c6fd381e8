"""The text of --help, from the schema."""
from __future__ import annotations

from typing import Optional

from src.settings.config import Config, fields
from src.settings.schema import type_name

INTRODUCTION = """usage: python {program}.py --config_path FILE [--key value ...]
       python {program}.py --model_name NAME [--key value ...]

Models: {models}
Every key of the configuration file is a flag: --key value, --key=value, or --key alone for true.
Lists are written 300,300 or [300,300]; dictionaries a=b,c=d. A flag wins over the file.
"""


def help_text(command: str, config: Optional[Config], models: list) -> str:
    """All settings by section with type, value in `config` (or the schema's default) and description."""
    lines = [INTRODUCTION.format(program=command, models=", ".join(models))]
    if config is None:
        lines.append("The settings that all models share; with --config_path or --model_name also the model's own.\n")
    section = None
    for key, (name, field) in fields(Config if config is None else type(config)).items():
        if name != section:
            lines.append(f"{name}:")
            section = name
        default = default_text(getattr(getattr(config, name), key) if config else default_value(field))
        lines.append(f"  --{key}  ({type_name(field.annotation)}; {default})")
        lines.append(f"      {field.description}")
    return "\n".join(lines)


def default_value(field):
    """The schema's default; empty text for a required setting."""
    return "" if field.is_required() else field.get_default(call_default_factory=True)


def default_text(value) -> str:
    """A value as it is written on the command line, at most 60 characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
