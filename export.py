"""Export a checkpoint: python export.py --model_path FILE.ckpt --file_format MINDIR|ONNX|AIR [--key value ...]"""
from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np

from src.checkpoint import Weights, read_weights
from src.command_line import staged_config
from src.conversion.coco_classes import COCO_CLASSES
from src.data.annotations import check_num_classes, check_split
from src.data.recognise import with_data
from src.description import read_description
from src.engine.run_folder import make_folder, results_folder, versions
from src.engine.terminal import quiet_terminal
from src.entry import keep_traces_in, run
from src.errors import ExportError, UsageError
from src.evaluation.model_file import check_model_path, load_network
from src.evaluation.postprocessed import PostprocessedDetector
from src.evaluation.predictor import network_runner
from src.evaluation.quantization import Loss, quantize_export
from src.evaluation.thresholds import stored_thresholds
from src.export.comparison import check_detections, check_equal, tolerance
from src.export.onnx_graph import finish_onnx
from src.export.onnx_postprocess import add_postprocess
from src.files import sha256_of
from src.model_utils.device_adapter import set_device
from src.ops import native
from src.settings.schema import ExportSection


def main(argv=None) -> int:
    with staged_config(sys.argv[1:] if argv is None else argv, "export") as config:
        export_model(config)
    return 0


def export_model(config) -> None:
    path = check_model_path(config.eval.checkpoint_file_path)
    if path.suffix.lower() != ".ckpt":
        raise UsageError(f"{path} is exported already; give a .ckpt")
    if config.export.file_format == "AIR" and config.runtime.device_target != "Ascend":
        raise ExportError("AIR is written by the Ascend backend only; run this on an Ascend host with --device_target "
                          "Ascend, or choose --file_format MINDIR (which Ascend takes as well) or ONNX")
    check_postprocess(config.export)
    if config.export.int8:
        config = with_data(config)
        check_int8(config)
    folder = results_folder(config, path, "export")
    keep_traces_in(folder)
    if config.export.file_format == "ONNX" and config.runtime.device_target == "Ascend":
        print("an ONNX file is for other devices: it is written and compared on this host's CPU")
        config = config.replace(device_target="CPU")
    with quiet_terminal(folder / "mindspore.log", config.runtime.verbose):
        set_device(config.runtime)
        native.leave()  # other programs and devices do not have them
        print("exported:", export(config, path, folder))
        if config.export.file_format == "MINDIR":
            print(lite_advice())


def check_int8(config) -> None:
    """Raises UsageError for another format, or if the data that int8 needs is missing."""
    if config.export.file_format != "ONNX":
        raise UsageError(f"int8 is for ONNX files, and --file_format is {config.export.file_format}; add --file_format "
                         "ONNX, or leave --int8 out")
    for split in ("train", config.eval.eval_split):
        check_split(config.data, split)


def lite_advice() -> str:
    """Which MindSpore Lite reads the .mindir that this MindSpore writes."""
    import mindspore as ms

    return (f"MindSpore Lite: the .mindir of MindSpore {ms.__version__} needs Lite of the same release; Lite 2.0.0, "
            "which PyPI has, takes the .onnx (--file_format ONNX)")


def export(config, checkpoint: Path, folder: Path) -> Path:
    """Write <file_name>.<format> with its .json and .yaml. Raises ExportError and leaves no file if the outputs differ
    from the network's on an image, or int8 lowers AP too much."""
    weights = read_weights(checkpoint)
    network, detector = load_network(config, weights, classes_of_zoo(config, weights))
    config = detector.config
    if config.model.use_float16:
        print("use_float16 is a setting of the training; the exported model computes in float32")
    described = PostprocessedDetector(detector) if config.export.with_postprocess else detector
    inference = detector.inference(network)
    inference.set_train(False)
    image = example_image(config)
    inputs = example_batch(detector, image, config.export.export_batch_size)
    outputs = network_runner(inference)(*inputs)
    file_format = config.export.file_format
    target, name = place_of(config.export, folder)
    make_folder(target, "file_name")
    with tempfile.TemporaryDirectory(dir=target, prefix=".export-") as room:
        written = export_graph(inference, inputs, Path(room), name, file_format)
        if file_format == "ONNX":
            for obstacle in finish_onnx(written, detector.output_names):
                print(f"MindSpore Lite 2.0.0 cannot convert this file: {obstacle}")
        difference = None if file_format == "AIR" else check_equal(written, inputs, outputs, detector, tolerance())
        if config.export.with_postprocess:
            add_postprocess(written, described)
            wanted = detector.postprocess([output[0] for output in outputs], detector.geometry(*image.shape[:2]))
            inputs = example_batch(described, image, 1)
            outputs, difference = check_detections(written, inputs, wanted, described, image.shape[:2])
        tensors = {"inputs": list_tensors(described.input_names, inputs),
                   "outputs": list_tensors(described.output_names, outputs)}
        loss = None
        if config.export.int8:
            exact, written = written, written.with_name(f"{name}_int8.onnx")
            loss = quantize_export(config, described, exact, written, folder)
            exact.unlink()
        write_description(written, target, config, described, tensors, checkpoint, difference, loss)
        for path in sorted(Path(room).iterdir()):
            os.replace(path, target / path.name)
        return target / written.name


def check_postprocess(settings: ExportSection) -> None:
    """Raises UsageError if with_postprocess is asked for where it cannot be had."""
    if not settings.with_postprocess:
        return
    if settings.file_format != "ONNX":
        raise UsageError(f"--with_postprocess True needs --file_format ONNX, not {settings.file_format}")
    if settings.export_batch_size != 1:
        raise UsageError("--with_postprocess True returns the detections of one image; leave --export_batch_size "
                         f"{settings.export_batch_size} out")


def place_of(settings: ExportSection, folder: Path) -> tuple[Path, str]:
    """(folder, name without ending) of the exported files; `folder` where file_name has none.

    Raises UsageError for an invalid name, and for the ending of another format.
    """
    given = settings.file_name
    path = Path(given)
    in_a_folder = path.name != str(path)
    if given.endswith(("/", os.sep)) or not path.name.strip(".") or in_a_folder and path.is_dir():
        raise UsageError(f"--file_name {given or repr(given)}: give the name of a file, without ending")
    ending = path.suffix.lower().lstrip(".")
    if ending.upper() in get_args(ExportSection.model_fields["file_format"].annotation):
        if ending.upper() != settings.file_format:
            raise UsageError(f"--file_name {given} ends in .{ending}, and the format is {settings.file_format}; leave "
                             f"the ending out, or add --file_format {ending.upper()}")
        path = path.with_name(path.name[:-len(path.suffix)])
    return (path.parent if in_a_folder else folder), path.name


def classes_of_zoo(config, weights: Weights) -> tuple[str, ...] | None:
    """COCO's classes, as in the zoo, if neither the checkpoint nor the settings name any; prints a line about it."""
    if weights.classes is not None or config.data.classes is not None:
        return None
    check_num_classes(config.data.num_classes, COCO_CLASSES)
    print(f"{weights.path} and the settings name no classes: the {len(COCO_CLASSES)} of COCO are taken (--classes)")
    return COCO_CLASSES


def export_graph(inference, inputs: list, folder: Path, name: str, file_format: str) -> Path:
    """Write <name>.<format> into `folder`; returns its path."""
    import mindspore as ms

    # MindSpore refuses paths with a blank, a letter beyond ASCII or one of ()+,=~#; it is given none.
    plain = "model"
    before = os.getcwd()
    os.chdir(folder)
    try:
        ms.export(inference, *map(ms.Tensor, inputs), file_name=plain, file_format=file_format)
    finally:
        os.chdir(before)
    (written,) = (path for path in folder.iterdir() if path.suffix.lower() == f".{file_format.lower()}")
    if any(path.is_dir() for path in folder.iterdir()):
        raise ExportError("MindSpore has split this model into several files, which name each other; export it in "
                          "another format")
    written.chmod(0o644)  # MindSpore leaves the file readable for its owner only
    return written.rename(folder / f"{name}{written.suffix}")


def example_image(config) -> np.ndarray:
    """The image that the exported file is compared with the network on: img_path, or else a drawn one."""
    from src.data.images import read_image
    from src.data.shapes import draw_image

    if config.eval.img_path:
        return read_image(Path(config.eval.img_path), max_pixels=config.data.max_image_pixels)
    return draw_image((320, 240), np.random.default_rng(0))[0]


def example_batch(detector, image: np.ndarray, batch_size: int) -> list:
    """An image as the inputs of a model, repeated to its batch size."""
    array, geometry = detector.preprocess(image)
    return [np.stack([row] * batch_size) for row in (array, *detector.further_inputs(geometry))]


def list_tensors(names, arrays) -> list[dict]:
    """Name, type and shape of inputs or outputs."""
    return [{"name": name, "type": str(array.dtype), "shape": list(array.shape)} for name, array in zip(names, arrays)]


def write_description(path: Path, target: Path, config, detector, tensors: dict, checkpoint: Path,
                      difference: float | None, int8: Loss | None = None) -> None:
    """Write the description file, which says how to run the model, and the yaml that our own commands read.

    Files of one name in several formats share them; raises ExportError when the earlier ones are of another model.
    path: the exported file, which will lie in `target`. difference: of the file before int8 to the network.
    """
    interface = {"model_name": config.model.model_name, "classes": list(detector.classes),
                 "batch_size": config.export.export_batch_size, **tensors, **detector.export_description(),
                 "settings": detector.conditions(), "built_in": detector.built_in()}
    measured = {"checkpoint": checkpoint.name, "largest_difference": difference, "name": path.name,
                "sha256": sha256_of(path), **({} if int8 is None else {"int8": int8._asdict()})}
    earlier = read_description(target / path.name)
    siblings = [name for name in earlier.get("files", {}) if name != config.export.file_format]
    other = [key for key, value in interface.items() if key in earlier and earlier[key] != value]
    file = (target / path.name).with_suffix(".json")
    if siblings and other:
        raise ExportError(f"{file} describes another model, exported as {', '.join(siblings)}: {', '.join(other)} "
                          "differ; choose another --file_name")
    if other:
        print(f"{target / path.name} replaces the export of another model: {', '.join(other)} differ")
    thresholds = stored_thresholds(checkpoint)
    known = {} if thresholds is None else {"thresholds": asdict(thresholds)}
    description = {**interface, **known, "files": {**earlier.get("files", {}), config.export.file_format: measured},
                   "versions": versions()}
    path.with_suffix(".json").write_text(json.dumps(description, indent=1), encoding="utf-8")
    here = {"result_path": None, "img_path": None}  # these belong to this call only
    config.model_copy(update={"eval": config.eval.model_copy(update=here)}).write(path.with_suffix(".yaml"))


if __name__ == "__main__":
    sys.exit(run(main))
