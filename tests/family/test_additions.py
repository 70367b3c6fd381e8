"""docs/development.md, tried: a backbone and an annotation format are added by the rows and modules that it lists."""
from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from src import models
from src.backbones.layers import ConvNorm
from src.backbones.table import BACKBONES, Backbone
from src.command_line import load_config
from src.data.annotations import find_sources, load_split
from src.data.audit import audit
from src.data.identity import request_of
from src.data.recognise import recognise
from src.data.records import AnnotationSet, DataSources, LabelledBox, make_record
from src.settings.data_formats import DATA_FORMATS, DataFormat
from src.ssd.variants import VARIANTS, Variant

CHANNELS = (8, 12)


class ToyBackbone(nn.Cell):
    """Two maps, at strides 16 and 32. construct: (B, 3, H, W) -> two of (B, C, h, w)."""

    def __init__(self):
        super().__init__()
        self.first = ConvNorm(3, CHANNELS[0], 16, 16, symmetric=False)
        self.second = ConvNorm(CHANNELS[0], CHANNELS[1], 3, 2, symmetric=False)

    def construct(self, x):
        first = self.first(x)
        return first, self.second(first)


def zoo_cells(zoo: str = "") -> dict:
    return {f"{zoo}{layer}.{part}": f"backbone.{layer}.{part}" for layer in ("first", "second")
            for part in ("conv", "norm")}


def test_a_backbone_is_a_row_of_the_table_and_a_row_of_the_model_that_uses_it(monkeypatch, tmp_path):
    monkeypatch.setitem(BACKBONES, "toy", Backbone(ToyBackbone, CHANNELS, (16, 32), zoo_cells))
    monkeypatch.setitem(VARIANTS, "ssd_toy", Variant("toy", "convolution", lambda _model: {},
                                                     zoo_spelling={"zoo": "network.toy."}))
    monkeypatch.setitem(models.MODELS, "ssd_toy", models.Model("ssd", str(tmp_path / "ssd_toy.yaml")))
    (tmp_path / "ssd_toy.yaml").write_text("""model:
  model_name: ssd_toy
  num_default: [6, 6, 6]
  aspect_ratios: [[2, 3], [2, 3], [2, 3]]
  extras_in_channels: [8, 12, 12]
  extras_out_channels: [8, 12, 16]
  extras_strides: [1, 1, 2]
  extras_ratio: [1, 1, 1]
""")
    config = load_config(["--model_name", "ssd_toy", "--img_shape", "64,96"], "train")
    detector = models.build_detector(config, ("a", "b"))
    network = detector.network()
    boxes, scores = detector.inference(network).set_train(False)(ms.Tensor(np.zeros((1, 3, 64, 96), np.float32)))
    count = 6 * (4 * 6 + 2 * 3 + 1 * 2)
    assert len(detector.priors.centers) == count and boxes.shape == (1, count, 4) and scores.shape == (1, count, 3)
    assert detector.from_zoo("network.toy.first.conv.weight") == "backbone.first.conv.weight"
    assert {parameter.name for parameter in network.backbone.get_parameters()} <= {
        detector.from_zoo(f"network.toy.{layer}.{part}") for layer in ("first", "second")
        for part in ("conv.weight", *(f"norm.{word}" for word in ("gamma", "beta", "moving_mean", "moving_variance")))}


# An annotation format: a file boxes.toy with a line "image label x1 y1 x2 y2" for each object.

def find_split(data, split) -> DataSources:
    folder = Path(data.image_dir)
    return DataSources("toy", {f"{split}.toy": folder / f"{split}.toy"}, folder)


def read_split(data, split, classes) -> AnnotationSet:
    (path,), root = find_split(data, split).annotation_files.values(), Path(data.image_dir)
    rows = [line.split() for line in path.read_text().splitlines()]
    names = tuple(classes or sorted({row[1] for row in rows}))
    records = []
    for number, image in enumerate(sorted({row[0] for row in rows}), 1):
        objects = [LabelledBox(tuple(map(float, row[2:])), names.index(row[1]), place)
                   for place, row in enumerate(rows, 1) if row[0] == image]
        records.append(make_record(root / image, number, (0, 0), objects, f"{path.name}:{number}"))
    return AnnotationSet(names, tuple(range(1, len(names) + 1)), tuple(records), root, "toy", path)


def recognise_toy(folder):
    return {"image_dir": str(folder)} if (folder / "train.toy").is_file() else None


@pytest.fixture
def toy_format(monkeypatch, tmp_path):
    """The folder of a data set in the toy format, whose row and module are there."""
    module = SimpleNamespace(find_split=find_split, read_split=read_split, recognise=recognise_toy)
    monkeypatch.setitem(sys.modules, "src.data.toy_rows", module)
    monkeypatch.setitem(DATA_FORMATS, "toy", DataFormat("toy_rows", paths=("image_dir",)))
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "train.toy").write_text("a.png cat 1 2 30 20\na.png dog 5 5 9 9\nb.png cat 0 0 60 40\n")
    return tmp_path


def test_an_annotation_format_is_a_row_of_the_table_and_a_module(toy_format):
    assert recognise(toy_format) == {"dataset": "toy", "image_dir": str(toy_format)}
    data = load_config(["--model_name", "ssd300"], "train").data.model_copy(
        update={"dataset": "toy", "image_dir": str(toy_format)})    # the schema has read the table before the row came
    annotations = load_split(data, "train")
    assert annotations.classes == ("cat", "dog") and [len(record.boxes) for record in annotations.records] == [2, 1]
    audited = audit(annotations, progress=False).annotations
    assert [(record.height, record.width, len(record.boxes)) for record in audited.records] == [
        (40, 60, 2), (40, 60, 1)]
    first = request_of(data, "train", with_masks=False).fingerprint
    (toy_format / "train.toy").write_text("a.png cat 1 2 30 20\n")
    assert request_of(data, "train", with_masks=False).fingerprint != first
    assert find_sources(data, "train").image_root == toy_format
