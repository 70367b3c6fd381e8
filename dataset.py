"""The zoo's writing of MindRecord files for CenterNet: python dataset.py --coco_data_dir FOLDER --mindrecord_dir FOLDER

It is train.py --only_create_dataset True, for centernet_resnet50 where no other model is named. On ModelArts the files
are written into output_path, which is copied out, as the zoo did.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Optional

from src.entry import run
from src.model_utils.moxing_adapter import OUTPUT_PATH
from src.settings.flags import split_flags
from train import main as train


def main(argv: Optional[list[str]] = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(words):
        return train(words)
    given = {flag.name: flag.value for flag in split_flags(words)}
    more = ["--only_create_dataset=True"]
    if not {"config_path", "model_name", "using_model", "backbone"} & set(given) and \
            not Path("default_config.yaml").is_file():
        more.append("--model_name=centernet_resnet50")
    if str(given.get("enable_modelarts")).lower() == "true" and "mindrecord_dir" not in given:
        more.append(f"--mindrecord_dir={Path(given.get('output_path', OUTPUT_PATH), 'mindrecord')}")
    return train([*words, *more])


if __name__ == "__main__":
    sys.exit(run(main))
