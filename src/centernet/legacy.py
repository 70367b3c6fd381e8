"""Parameter names of the old zoo's CenterNet checkpoints -> ours (tables of cells, see src/backbones/zoo_names.py)."""
from __future__ import annotations

HEADS = {"hm_fn": "heatmap", "wh_fn": "size", "reg_fn": "offset"}
FILTER_WORDS = {theirs: f"{ours}." for theirs, ours in HEADS.items()}
NOT_FROM_IMAGENET = ("fc.", "end_point.", "stages.", *(f"{head}." for head in HEADS.values()))
# What the Ascend training cell of centernet_resnet101 puts before every name.
TRAINING_CELL = "train_on_step."


def settings_of(arrays: dict) -> dict:
    """Settings of a checkpoint of the zoo, whose networks have no deformable convolutions; empty for other files."""
    return {"up_sampling": "plain"} if any(".deconv_layers." in name for name in arrays) else {}


def zoo_cells(model) -> dict:
    """Names of all cells with parameters in a checkpoint of the zoo, for the network of the `model` section."""
    prefix = f"network.{model.backbone_name}."
    cells = model.backbone.zoo_cells(prefix, shortcut=("downsample.0", "downsample.1"))
    for stage in range(3):
        cells[f"{prefix}deconv_layers.{3 * stage}"] = f"stages.{stage}.up"
        cells[f"{prefix}deconv_layers.{3 * stage + 1}"] = f"stages.{stage}.norm"
    for theirs, ours in HEADS.items():
        cells[f"network.{theirs}.0"] = f"{ours}.conv"
        cells[f"network.{theirs}.2"] = f"{ours}.output"
    return cells
