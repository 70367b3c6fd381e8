"""Files that are whole or not there."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Union


def write_file(path: Path, content: Union[bytes, str, Callable]) -> None:
    """Write bytes, text (UTF-8) or what `content(file)` puts into a binary file: under another name, flushed to the
    disk, then renamed, so that nobody ever reads half of it. Raises OSError, leaving an earlier file as it was."""
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
