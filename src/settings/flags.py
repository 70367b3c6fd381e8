"""Reads settings from the flags of a command line."""
from collections.abc import Iterable

from src.errors import UsageError
from src.settings.given import Setting


def split_flags(argv: Iterable[str]) -> list:
    """The Settings of `--key value`, `--key=value` and `--key` alone, which means true.

    A later flag replaces an earlier one of the same name, so that launchers can append "$@". Raises UsageError for
    anything that is not a flag.
    """
    settings, waiting = {}, None
    for token in argv:
        if token.startswith("--"):
            name, equals, text = token[2:].partition("=")
            name = name.replace("-", "_")
            settings[name] = Setting(name, text if equals else "true", f"flag --{name}")
            waiting = None if equals else name
        elif waiting:
            settings[waiting] = Setting(waiting, token, f"flag --{waiting}")
            waiting = None
        else:
            raise UsageError(f"unexpected argument '{token}'; settings are given as --key value (see --help)")
    return list(settings.values())
