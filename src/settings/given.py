"""A setting as a user gave it, before it is checked."""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Setting:
    """Name and value as they were given in a file or by a flag; the schema has not checked them."""

    name: str
    value: object
    source: str                     # "file.yaml:12", "flag --name"
    section: Optional[str] = None   # section of the file
    old_file: bool = False          # from a file of the old zoo
    key: Optional[str] = None       # what the name means here, where that is not its usual meaning
