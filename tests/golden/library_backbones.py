"""What backbones of other libraries answer, so that the converters are tested where these libraries are not installed.

`make peers` compares with the libraries themselves. Here their answers are stored: names and shapes of the parameters,
and samples of the maps. Weights and input follow from the names. The files were written by

    python tests/golden/library_backbones.py

in the environment of `make peers`, with torch 2.14.1, torchvision 0.29.1, timm 1.0.31 and mindcv 0.3.0.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import recipe

FOLDER = Path(__file__).resolve().parent / "library_backbones"
SIDES = (96, 64)
STAGES = ("layer1", "layer2", "layer3", "layer4")
VARIANCE = 0.02     # of the norms' statistics: small, so that their epsilon matters


class Case(NamedTuple):
    """A backbone of a library, and the names of its layers whose outputs are stored."""

    library: str
    name: str
    layers: tuple
    classifier: str     # beginning of the names of its parameters, which no map depends on


CASES = (
    Case("torchvision", "mobilenet_v2", ("features.18",), "classifier."),
    Case("torchvision", "resnet50", STAGES, "fc."),
    Case("timm", "mobilenetv1_100", ("blocks.3.1", "blocks.4.1"), "classifier."),
    Case("timm", "res2net50d", STAGES, "fc."),
    Case("mindcv", "resnet50", STAGES, "classifier."),
)


def weights(case: Case, shapes: dict) -> dict:
    """{name: array} for {name: shape}; every layer keeps the size of the numbers about."""
    normed = any(name.endswith(("running_var", "moving_variance")) for name in shapes)
    return {name: np.broadcast_to(np.float32(0), shape) if name.startswith(case.classifier)
            else _value(name, shape, normed) for name, shape in shapes.items()}


def _value(name: str, shape: tuple, normed: bool) -> np.ndarray:
    noise, word = recipe.tensor(name, shape), name.rpartition(".")[2]
    if word in ("running_var", "moving_variance"):
        return VARIANCE * (1 + np.abs(noise))
    if word in ("running_mean", "moving_mean"):
        return 0.05 * noise
    if len(shape) > 1:
        return noise * np.float32(np.sqrt((2 * VARIANCE if normed else 2) / np.prod(shape[1:])))
    return 0.1 * noise if word in ("bias", "beta") else np.clip(0.6 + 0.1 * noise, 0.1, 1).astype(np.float32)


def images() -> np.ndarray:
    """(1, 3, *SIDES)"""
    return recipe.tensor("images of library backbones", (1, 3, *SIDES))


def file_of(case: Case) -> Path:
    return FOLDER / f"{case.library}-{case.name}.npz"


def read(case: Case) -> tuple[dict, list]:
    """({name: shape} of the parameters; (sample, shape) of each map)."""
    with np.load(file_of(case)) as file:
        shapes = {str(name): tuple(int(side) for side in str(text).split(",") if side)
                  for name, text in zip(file["names"], file["shapes"])}
        return shapes, [(file[f"map{index}"], tuple(file[f"shape{index}"])) for index in range(len(case.layers))]


def record(case: Case) -> None:
    """Ask the library, and write the file."""
    answer = _of_mindcv if case.library == "mindcv" else _of_pytorch
    shapes, maps = answer(case)
    stored = {"names": np.array(list(shapes)),
              "shapes": np.array([",".join(map(str, shape)) for shape in shapes.values()])}
    for index, array in enumerate(maps):
        stored[f"map{index}"], stored[f"shape{index}"] = recipe.sample(array, 512)[0], np.array(array.shape)
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(file_of(case), **stored)
    print(case.library, case.name, [f"{array.shape} std {array.std():.3f}" for array in maps])


def _of_pytorch(case: Case) -> tuple[dict, list]:
    import timm
    import torch
    import torchvision

    module = timm.create_model(case.name) if case.library == "timm" else getattr(torchvision.models, case.name)()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if tensor.ndim}
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights(case, shapes).items()},
                           strict=False)
    found, layers = {}, dict(module.named_modules())
    for name in case.layers:
        layers[name].register_forward_hook(lambda _layer, _inputs, output, name=name: found.update({name: output}))
    with torch.no_grad():
        module.eval()(torch.from_numpy(images()))
    return shapes, [found[name].numpy() for name in case.layers]


def _of_mindcv(case: Case) -> tuple[dict, list]:
    import mindcv
    from mindspore import Tensor

    module = getattr(mindcv.models, case.name)().set_train(False)
    shapes = {parameter.name: tuple(parameter.shape) for parameter in module.get_parameters()}
    values = weights(case, shapes)
    for parameter in module.get_parameters():
        parameter.set_data(Tensor(values[parameter.name].copy()))
    maps = [module.max_pool(module.relu(module.bn1(module.conv1(Tensor(images())))))]
    for layer in case.layers:
        maps.append(getattr(module, layer)(maps[-1]))
    return shapes, [array.asnumpy() for array in maps[1:]]


if __name__ == "__main__":
    for wanted in CASES:
        if not file_of(wanted).exists():    # delete a file to ask its library again
            record(wanted)
