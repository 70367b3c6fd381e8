"""Names of an image's output files, for preprocess.py, postprocess.py, the C++ application and drawn images."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable

from src.errors import DatasetError


def image_names(paths: Iterable[Path], listed: bool = True) -> dict[Path, str]:
    """Path -> name of its outputs: the path below the folder that all images share, without the ending.

    "0000" if all lie in one folder, "a/0000" and "b/0000" if not. Raises DatasetError if two images would have the same
    name; with `listed` also for a name that is not UTF-8, which a list of results cannot contain.
    """
    places = {path: Path(os.path.normpath(path)) for path in paths}
    shared = os.path.commonpath([place.parent for place in places.values()]) if places else ""
    names: dict[Path, str] = {}
    owners: dict[str, Path] = {}
    for path, place in places.items():
        below = place.relative_to(shared)
        name = names[path] = (below.parent / below.stem).as_posix()
        try:
            name.encode("utf-8", "strict" if listed else "surrogateescape")
        except UnicodeEncodeError:
            raise DatasetError(f"{ascii(str(path))}: the name is not UTF-8; rename the image") from None
        other = owners.setdefault(name, place)
        if other != place:
            raise DatasetError(f"{other} and {place} differ in their ending only, so that their outputs would have one "
                               "name; rename one of them")
    return names
