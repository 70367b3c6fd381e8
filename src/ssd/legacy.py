"""Parameter names of the old zoo's SSD checkpoints -> ours."""
from __future__ import annotations

BLOCKS_AT_STRIDE_16, BLOCKS_AT_STRIDE_32 = 13, 4
EXTRAS = 4
LEVELS = 6

# Words of the old checkpoint_filter_list -> beginnings of our names.
FILTER_NAMES = {"multi_loc_layers": "box_predictors", "multi_cls_layers": "class_predictors"}


def from_zoo(name: str) -> str | None:
    """Our name of a parameter of the old zoo's ssd300, None if the network has no such parameter (optimizer state)."""
    if not name.startswith("network."):
        return None
    cell, _, leaf = name[len("network."):].rpartition(".")
    return f"{_CELLS[cell]}.{leaf}" if cell in _CELLS else None


def _ssd300_cells() -> dict:
    """Name of every cell with parameters, zoo -> ours."""
    cells = {}

    def conv_norm(zoo: str, ours: str) -> None:
        cells[f"{zoo}.0"], cells[f"{zoo}.1"] = f"{ours}.conv", f"{ours}.norm"

    def inverted_residual(zoo: str, ours: str, expands: bool = True) -> None:
        layers = ["expand", "depthwise"] if expands else ["depthwise"]
        for index, layer in enumerate(layers):
            conv_norm(f"{zoo}.conv.{index}.features", f"{ours}.{layer}")
        cells[f"{zoo}.conv.{len(layers)}"] = f"{ours}.project.conv"
        cells[f"{zoo}.conv.{len(layers) + 1}"] = f"{ours}.project.norm"

    conv_norm("backbone.features_1.0.features", "backbone.stem")
    conv_norm("backbone.expand_layer_conv_13.features", "backbone.expand16")
    for index in range(BLOCKS_AT_STRIDE_16):
        inverted_residual(f"backbone.features_1.{index + 1}", f"backbone.stage16.{index}", expands=index > 0)
    for index in range(BLOCKS_AT_STRIDE_32):
        inverted_residual(f"backbone.features_2.{index}", f"backbone.stage32.{index}")
    conv_norm(f"backbone.features_2.{BLOCKS_AT_STRIDE_32}.features", "backbone.last")
    for index in range(EXTRAS):
        inverted_residual(f"multi_residual.{index}", f"extras.{index}")
    for zoo, ours in (("multi_loc_layers", "box_predictors"), ("multi_cls_layers", "class_predictors")):
        for level in range(LEVELS):
            for position, layer in (("0", "depthwise"), ("1", "norm"), ("3", "pointwise")):
                cells[f"multi_box.{zoo}.{level}.{position}"] = f"{ours}.{level}.{layer}"
    return cells


_CELLS = _ssd300_cells()
