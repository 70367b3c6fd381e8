"""The zoo's download of COCO: python download_dataset.py --config_path FILE [--dataset coco]

It is tools/download_coco.py.
"""
from __future__ import annotations

import sys
from typing import Optional

from src.entry import run
from src.errors import UsageError
from src.settings.flags import split_flags
from tools.download_coco import main as download


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    name = next((flag.value for flag in split_flags(words) if flag.name == "dataset"), "coco")
    if name != "coco":
        raise UsageError(f"dataset is {name}, but only coco can be downloaded")
    return download(words)


if __name__ == "__main__":
    sys.exit(run(main))
