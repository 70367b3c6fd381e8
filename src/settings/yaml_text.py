"""Reads and writes YAML for settings files: plain values only, no repeated keys, limited size and depth.

PyYAML reads YAML 1.1, where `no` is False, `010` is 8 and `1e-3` is text. A class called "no" and a learning rate
of 1e-3 are common here, so scalars are read by the YAML 1.2 core rules instead.
"""
from __future__ import annotations

import re
from pathlib import Path

import yaml

from src.errors import ConfigError
from src.files import open_input

MAX_BYTES = 1 << 20
MAX_DEPTH = 20

_SCALARS = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ("~", "n", "N", "")),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    # Longer digit strings are no setting, and int() itself refuses them from 4300 digits on.
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]{0,18})$", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses aliases, tags and repeated keys. lines: {key: line where it was first seen}."""

    yaml_implicit_resolvers: dict = {}

    def __init__(self, text, key_types):
        super().__init__(text)
        self.key_types = key_types
        self.depth = 0
        self.lines = {}

    def compose_node(self, parent, index):
        event = self.peek_event()
        if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="anchors, aliases and tags are not accepted; write the plain value",
                                       problem_mark=event.start_mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node, deep=False):
        seen = {}
        for key_node, value_node in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if type(key) not in self.key_types:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} is not text", problem_mark=key_node.start_mark)
            value = self.construct_object(value_node, deep=True)
            if key in seen and seen[key][1] != value:
                raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice, first in line {seen[key][0]}, with "
                                           "another value", problem_mark=key_node.start_mark)
            seen.setdefault(key, (line, value))
            self.lines.setdefault(key, line)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes YAML that _Loader reads back equal: no aliases, and text that looks like a number is quoted."""

    def ignore_aliases(self, _data):
        return True

    def represent_sequence(self, tag, sequence, flow_style=True):
        return super().represent_sequence(tag, sequence, flow_style=flow_style)

    def represent_str(self, data):
        # PyYAML folds some line separators (U+0085) into spaces; only between double quotes they are escaped.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)
for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))
    _Dumper.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def parse(text: str, name: str, key_types: tuple[type, ...] = (str,)):
    """All documents in `text`, and the line of each key.

    Returns (list of plain values, {key: line}); raises ConfigError that begins with `name`.
    """
    try:
        loader = _Loader(text, key_types)
        documents = []
        while loader.check_data():
            documents.append(loader.get_data())
    except yaml.MarkedYAMLError as error:
        place = f"{name}:{error.problem_mark.line + 1}" if error.problem_mark else name
        raise ConfigError(f"{place}: not a valid YAML file: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not a valid YAML file: {str(error).splitlines()[0]}") from None
    return documents, loader.lines


def read(path: Path):
    """Parse a file of at most MAX_BYTES."""
    try:
        with open_input(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the configuration file cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes; a configuration file is a few kilobytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    return parse(text, str(path))


def dump(values: dict, width: float = 120) -> str:
    """YAML text of nested plain values, in their order; lists on one line, folded at `width`."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False,
                     width=width)
