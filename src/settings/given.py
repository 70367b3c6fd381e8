"""One value as a user gave it."""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Setting:
    """One value as it was given, before the schema has seen it."""

    name: str
    value: object
    source: str                     # "file.yaml:12", "flag --name"
    section: Optional[str] = None   # the group of the file that it stood in
    old_file: bool = False
