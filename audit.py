"""Look at a data set: python audit.py --config_path FILE [--split NAME] [--output_path FOLDER] [--key value ...]"""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from src.command_line import load_config
from src.data.annotations import check_split, load_split
from src.data.audit import examine
from src.data.audit_policy import RULES, resolve_policy
from src.data.identity import ImageState, states_of
from src.data.recognise import with_data
from src.engine.run_folder import make_folder
from src.entry import run
from src.errors import DatasetError, UsageError
from src.evaluation.advice import advise
from src.models import detector_class
from src.settings.data_formats import DATA_FORMATS, SPLITS
from src.settings.schema import DataSection


def main(argv=None) -> int:
    """Audit the splits of a configuration; returns 0. Raises DatasetError if a finding is refused."""
    arguments = sys.argv[1:] if argv is None else argv
    parser = _parser()
    if "-h" in arguments or "--help" in arguments:
        parser.print_help()
    own, rest = parser.parse_known_args(arguments)
    config = with_data(load_config(rest, command="audit"))
    policy = resolve_policy(config.data.audit_policy)
    refusals: list[str] = []
    earlier: list[ImageState] = []
    for split in _splits(config.data, own.split):
        report = examine(load_split(config.data, split), policy, config.data.max_image_pixels,
                         config.data.num_parallel_workers, with_masks=detector_class(config).with_masks,
                         training=earlier)
        earlier += states_of(report.annotations.records)
        folder = own.folder / split if own.split == "all" else own.folder
        report.write(make_folder(folder, "output_path"))
        print(f"{report.table()}\nreport: {folder / 'audit.json'}\nimages: {folder / 'audit.png'}")
        if report.errors:
            refusals.append(report.error_message())
        elif split == "train" and (advice := advise(config, report.annotations)):
            print(f"\n{advice.text()}")
    if refusals:
        raise DatasetError("\n".join(refusals))
    return 0


def _splits(data: DataSection, wanted: str) -> list[str]:
    """The splits to audit; "all" means the training split and every other split that the data set has."""
    if wanted != "all":
        return [wanted]
    found = []
    for split in DATA_FORMATS[data.dataset].splits:
        try:
            check_split(data, split)
            found.append(split)
        except UsageError as missing:
            if split == "train":
                raise
            print(f"no split '{split}' to audit: {missing}")
    return found


def _parser() -> argparse.ArgumentParser:
    rules = [f"  {kind}: {rule.default} ({'; '.join(rule.meanings())})" for kind, rule in RULES.items()]
    parser = argparse.ArgumentParser(
        prog="python audit.py", usage="%(prog)s --config_path FILE [options] [any setting]",
        description="Look at every image and every box of a data set, and report what is wrong with them.",
        epilog="\n".join(["audit_policy: kinds of findings and the action taken by default. 'error', which refuses the",
                          "data set, is possible for every kind.", *rules]),
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False)
    parser.add_argument("--split", choices=(*SPLITS, "all"), default="train", help="what to audit (default: train)")
    parser.add_argument("--output_path", "--output-path", "--report_dir", "--report-dir", type=Path,
                        default=Path("audit"), dest="folder", metavar="FOLDER", help="folder for audit.json and "
                        "audit.png; with --split all, one folder per split below it (default: audit)")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
