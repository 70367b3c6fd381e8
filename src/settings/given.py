"""A setting as the user gave it, before the schema checks it."""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Setting:
    """Name and value from a file or a flag, not yet checked."""

    name: str
    value: object
    source: str                     # "file.yaml:12", "flag --name"
    section: Optional[str] = None   # section of the file
    old_file: bool = False          # from a file of the old zoo
    key: Optional[str] = None       # the key that the name means here, if not the usual one
