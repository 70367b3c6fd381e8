"""The description file beside an exported model: how it is run, and the settings that it was made with."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from src.checkpoint import is_list_of_names
from src.errors import CheckpointError
from src.files import parse_json, read_file, sha256_of


def read_description(path: Path) -> dict:
    """The description file that export.py wrote beside a model; empty when there is none.

    Raises CheckpointError when it is damaged.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        description = parse_json(read_file(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} is not valid json: {error}; export the model again") from None
    wrong = _wrong_part(description)
    if wrong:
        raise CheckpointError(f"{file} does not describe a model ({wrong}); export the model again")
    return description


def check_unchanged(path: Path, description: dict) -> None:
    """Raises CheckpointError if an exported model is not the file that its description was written for.

    Libraries load many damaged files without a word, and compute other numbers. Descriptions of earlier versions, and
    files of another name, are not compared.
    """
    for entry in description.get("files", {}).values():
        said = entry.get("sha256") if isinstance(entry, dict) and entry.get("name") == path.name else None
        if said is not None and said != sha256_of(path):
            raise CheckpointError(f"{path} is not the file that {path.with_suffix('.json').name} was written for (its "
                                  "SHA-256 is another): it is damaged, or the two are of different exports; copy both "
                                  "again, or export again. If you have changed the file on purpose, give it another "
                                  "name, and a copy of the description file")


def _wrong_part(content: Any) -> str:
    """What of a description file is not of the kind that export.py writes; empty when all is."""
    if not isinstance(content, dict):
        return "it is no dictionary"
    if not is_list_of_names(content.get("classes")) or not content["classes"]:
        return "classes"
    if not isinstance(content.get("model_name"), str):
        return "model_name"
    if not _is_count(content.get("batch_size")):
        return "batch_size"
    size = content.get("input")
    if not isinstance(size, dict) or not (_is_count(size.get("height")) and _is_count(size.get("width"))):
        return "input"
    for name in ("settings", "built_in"):
        if not isinstance(content.get(name, {}), dict):
            return name
    if not isinstance(content.get("inputs", []), list):
        return "inputs"
    return "" if isinstance(content.get("files", {}), dict) else "files"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
