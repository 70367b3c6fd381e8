"""Convert weights of other programs to a checkpoint: python convert_checkpoint.py --ckpt_file FILE --model NAME"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, Optional

from src.checkpoint import Weights, save_weights
from src.command_line import load_config
from src.conditions import as_flag, conditions_of, with_zoo_settings
from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.convert import Conversion, choose_naming, convert
from src.conversion.files import existing_file, read_any_weights
from src.conversion.naming import SOURCES, Naming, resnet_of, zoo_namings
from src.engine.terminal import quiet_terminal
from src.entry import run
from src.errors import UsageError
from src.models import MODELS, build_detector, detector_class, library_config
from src.printable import printable
from src.settings.flags import split_flags

HELP = f"""usage: python convert_checkpoint.py --ckpt_file FILE --model NAME [--source SOURCE] [--output FILE.ckpt]

  --ckpt_file  weights of the old model zoo (.ckpt), of PyTorch (.pth, .pt; tensors only), .safetensors, a frozen graph
               of TensorFlow (.pb), or the folder or model.json of a TensorFlow.js model
  --model      the detector they are for: {', '.join(MODELS)};
               without it Faster R-CNN with the ResNet or Res2Net in the file, as in the old zoo
  --source     {' | '.join(SOURCES)}; found out from the names in the file when left out
  --output     the checkpoint to write; without it <model>.ckpt or <model>_backbone.ckpt in this folder
  --classes    names of the classes of a whole detector, in its order; the 80 of COCO when left out
  --verbose    list every parameter
Other settings of the model, which decide its layers, are given as to train.py: --ssd_vgg_bn True.
A detector is used with --model_path, a backbone with --feature_extractor_base_param.
"""
OWN_FLAGS = ("ckpt_file", "model", "source", "output", "help")


def main(argv=None) -> int:
    flags = {flag.name: flag.value for flag in split_flags(sys.argv[1:] if argv is None else argv)}
    own = {name: flags.pop(name, None) for name in OWN_FLAGS}
    if own["help"]:
        print(HELP)
        return 0
    if not own["ckpt_file"]:
        raise UsageError("no weights given; add --ckpt_file FILE (see --help)")
    if own["source"] not in (None, *SOURCES):
        raise UsageError(f"--source {own['source']}: choose one of {', '.join(SOURCES)}")
    if own["output"] and not own["output"].endswith(".ckpt"):
        raise UsageError(f"--output {own['output']}: give a name that ends in .ckpt")
    path = existing_file(own["ckpt_file"])
    if own["model"]:
        flags["model_name"] = own["model"]
    verbose = flags.get("verbose", "false").lower() == "true"
    with tempfile.TemporaryDirectory() as folder, quiet_terminal(Path(folder) / "log", verbose):
        weights = read_any_weights(path)
        if "model_name" not in flags and "config_path" not in flags:
            flags["model_name"] = model_of_body(weights)
        output = convert_weights(weights, flags, own["source"], own["output"])
    print("written:", output)
    return 0


def model_of_body(weights: Weights) -> str:
    """The Faster R-CNN model with the ResNet or Res2Net in the file, as in the zoo's converters."""
    kind, depth = resnet_of(weights.arrays)
    model = f"faster_rcnn_{kind}{depth}"
    if model not in MODELS:
        raise UsageError(f"{weights.path}: its names do not say which model it is for; add --model NAME, one of "
                         f"{', '.join(MODELS)}")
    return model


class Target(NamedTuple):
    """The target of a conversion: the detector, its new network, and the names of the parameters in the file.

    settings_file: for detectors of that library, where the detector has the settings of another file.
    """

    detector: Any
    network: Any
    naming: Naming
    settings_file: Optional[Path]


def find_target(weights: Weights, flags: dict, source: str | None) -> Target:
    """The target that the settings name. Raises the errors of choose_naming.

    Without a configuration file the detector of a library has the settings of config/*/*_<library>.yaml.
    """
    from src.conversion.backbones import backbone_namings
    from src.conversion.detectors import detector_namings

    config = load_config([f"--{name}={value}" for name, value in flags.items()], "convert")
    config = with_zoo_settings(config, weights, detector_class(config))
    detector = build_detector(config, tuple(config.data.classes or COCO_CLASSES))
    network = detector.network()
    namings = zoo_namings(detector) + backbone_namings(detector, network) + detector_namings(detector, network)
    naming = choose_naming(weights, namings, [parameter.name for parameter in network.get_parameters()], source)
    whole = naming.content == "detector"
    own_file = library_config(config.model.model_name, naming.source) if whole else None
    if own_file is not None and "config_path" not in flags:
        print(f"settings: those of {own_file}")
        return find_target(weights, {**flags, "config_path": str(own_file)}, naming.source)
    taken = own_file is not None and own_file.samefile(flags["config_path"])
    return Target(detector, network, naming, None if taken else own_file)


def convert_weights(weights: Weights, flags: dict, source: str | None, output: str | None) -> Path:
    """Convert weights for the model of the settings, print the result, and return the path of the checkpoint."""
    from mindspore import Tensor

    detector, network, naming, settings_file = find_target(weights, flags, source)
    config, classes = detector.config, detector.classes
    model = config.model.model_name
    shapes = {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    print(f"{weights.path}: {naming.content} of {naming.source}, {len(weights.arrays)} arrays" +
          (f"; taken: {weights.note}" if weights.note else ""))
    conversion = convert(weights, naming, shapes, len(classes), settings_file)
    print_table(conversion, config.runtime.verbose)
    whole = naming.content == "detector"
    needed = {key: value for key, value in conversion.conditions.items() if key != "norm_eps"}
    if needed and whole:
        print("it carries its settings, which are taken where none are given; among them",
              *(f"{key} {as_flag(value)}" for key, value in needed.items()))
    elif needed:
        print("it needs these settings, and is refused without:",
              *(f"--{key} {as_flag(value)}" for key, value in needed.items()))
    conditions = {**conditions_of(detector, network), **conversion.conditions} if whole else conversion.conditions
    ending = "" if whole else "_backbone"
    target = Path(output or f"{model}{ending}.ckpt")
    save_weights(target, {name: Tensor(array) for name, array in conversion.arrays.items()}, model, classes, conditions)
    return target


def print_table(conversion: Conversion, each: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "what", "parameters")
    for row in conversion.rows(each):
        table.add_row(*map(printable, row))
    Console(color_system=None).print(table)


if __name__ == "__main__":
    sys.exit(run(main))
