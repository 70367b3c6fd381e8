"""The zoo's evaluation of an ONNX file: python eval_onnx.py --file_name FILE.onnx [--key value ...]

It is eval.py, which calls the file model_path.
"""
from __future__ import annotations

import re
import sys
from typing import Optional

from eval import main as evaluate
from src.entry import run


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    return evaluate([re.sub("^--file_name(?=$|=)", "--model_path", word) for word in words])


if __name__ == "__main__":
    sys.exit(run(main))
