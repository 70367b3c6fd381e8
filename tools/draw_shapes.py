"""Draw a small data set: python tools/draw_shapes.py --output DIR [--kind KIND] [--train N] [--val N] [--seed N]"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.data.shapes import KINDS, draw_shapes  # noqa: E402
from src.errors import ProjectError  # noqa: E402


def main(arguments=None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw a small detection data set: "
                                     "circles, rectangles and triangles as JPEG files with COCO annotations.")
    parser.add_argument("--output", required=True, help="folder to write, becomes coco_root")
    parser.add_argument("--train", type=int, default=400, help="number of images to train on (default 400)")
    parser.add_argument("--val", type=int, default=100, help="number of images to evaluate on (default 100)")
    parser.add_argument("--kind", default="shapes", choices=tuple(KINDS), help="what the images show: some shapes "
                        "(default), one large one, tiny, elongated or crowded ones, rare classes, or wrong labels")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other images (default 1)")
    options = parser.parse_args(arguments)
    try:
        drawn = draw_shapes(options.output, options.train, options.val, seed=options.seed, kind=options.kind)
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    outcome = "drawn" if drawn else "are there already, kept"
    print(f"{options.output}: {options.train} + {options.val} images {outcome}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
