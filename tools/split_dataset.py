"""Draw a validation split: python tools/split_dataset.py --data DIR [--val_fraction 0.2] [--seed 1] [--output FILE]"""
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Optional

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from src.data.annotation_files import check_below  # noqa: E402
from src.data.annotations import check_split, load_split  # noqa: E402
from src.data.identity import content_digests  # noqa: E402
from src.data.recognise import VAL_LIST, with_data  # noqa: E402
from src.data.records import AnnotationSet  # noqa: E402
from src.data.splitting import draw_validation_split, image_name  # noqa: E402
from src.entry import run  # noqa: E402
from src.errors import DatasetError, UsageError  # noqa: E402
from src.files import write_file  # noqa: E402
from src.printable import counted  # noqa: E402
from src.settings.config import Config, build  # noqa: E402
from src.settings.flags import split_flags  # noqa: E402
from src.settings.given import Setting  # noqa: E402
from src.settings.schema import DataSection  # noqa: E402


def main(argv: Optional[list[str]] = None) -> int:
    """Write the list of validation images and print what both splits hold; returns 0.

    Raises UsageError for wrong flags, a set that has a validation split, and a list that is there already.
    """
    own, rest = _parser().parse_known_args(argv)
    if not 0 < own.val_fraction < 1:
        raise UsageError(f"--val_fraction {own.val_fraction:g}: give a number between 0 and 1")
    given = build(Config, [], [*split_flags(rest), Setting("model_name", "any", "default")])
    target = own.output or (Path(given.data.data_root, VAL_LIST) if given.data.data_root else None)
    if target is None:
        raise UsageError("name the data set with --data DIR, or the list to write with --output FILE")
    if os.path.exists(target):
        raise UsageError(f"{target}: is there already; remove it to draw another split, or choose another --output")
    data = with_data(given).data
    _refuse_second_split(data)
    whole = load_split(data, "train")
    if not data.reads_outside:
        check_below(whole.root, [record.image_path for record in whole.records], "data")
    digests = content_digests(whole.records)
    chosen = draw_validation_split(whole.records, digests, own.val_fraction, own.seed)
    if not any(chosen):
        raise DatasetError(f"{whole.source}: {counted(len(whole.records), 'image')} cannot be divided into "
                           "training and validation")
    names = sorted(image_name(record, whole.root) for record, is_chosen in zip(whole.records, chosen) if is_chosen)
    try:
        write_file(target, "".join(f"{name}\n" for name in names))
    except OSError as error:
        raise DatasetError(f"{target}: cannot be written ({error.strerror}); choose another --output") from error
    print(summary(whole, chosen, len(digests) - len(set(digests))))
    print(f"validation images: {target}\ntrain.py, eval.py and audit.py take it "
          + (f"with --data {given.data.data_root}" if own.output is None else f"with --val_list {target}"))
    return 0


def summary(whole: AnnotationSet, chosen: list[bool], copies: int) -> str:
    """Images and objects of each class in both splits, as text."""
    width = max(len(name) for name in (*whole.classes, "images"))
    parts = [[record for record, is_chosen in zip(whole.records, chosen) if is_chosen == wanted]
             for wanted in (False, True)]
    lines = [f"{'':{width}}  train    val", f"{'images':{width}}  {len(parts[0]):5}  {len(parts[1]):5}"]
    counts = [np.bincount([label for record in part for label in record.labels], minlength=len(whole.classes))
              for part in parts]
    lines += [f"{name:{width}}  {train:5}  {val:5}" for name, train, val in zip(whole.classes, *counts)]
    if copies:
        lines.append(f"copies of other images: {copies}; all copies of an image are in the same split")
    return "\n".join(lines)


def _refuse_second_split(data: DataSection) -> None:
    try:
        check_split(data, "val")
    except UsageError:
        return
    raise UsageError("the data set has a validation split already; nothing was written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tools/split_dataset.py", usage="%(prog)s --data DIR [options] [settings of the data set]",
        description="Draw a validation split from the training split of a data set: the fraction is drawn class "
        "by class, the rarest first, copies of an image stay together, and the same data gives the same split. The "
        "images stay where they are; a list of the validation images is written.", allow_abbrev=False)
    parser.add_argument("--val_fraction", type=float, default=0.2, help="fraction of the images (default 0.2)")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another split (default 1)")
    parser.add_argument("--output", type=Path, help=f"list to write (default: {VAL_LIST} in the folder of --data)")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
