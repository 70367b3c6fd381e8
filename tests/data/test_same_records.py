"""One data set in several formats gives the same records."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from other_forms import write_labelme, write_yolo

from src.data.annotations import load_split
from src.data.records import AnnotationSet
from src.data.shapes import draw_shapes
from src.settings.schema import DataSection

BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd_voc" / "BCCD"


@pytest.fixture(scope="module", params=["drawn", "BCCD"])
def splits(request, tmp_path_factory) -> dict[str, AnnotationSet]:
    """The drawn set, with outlines, or real blood cells from xml files."""
    if request.param == "drawn":
        root = tmp_path_factory.mktemp("drawn") / "shapes"
        draw_shapes(root, train=5, val=3, size=(96, 72))
        data = DataSection(dataset="coco", coco_root=str(root))
    else:
        if not BCCD.is_dir():
            pytest.skip("needs ../shared/data/bccd_voc")
        data = DataSection(dataset="voc", voc_root=str(BCCD))
    return {split: load_split(data, split) for split in ("train", "val")}


def assert_same_records(found: AnnotationSet, wanted: AnnotationSet, outlines: bool) -> None:
    assert found.classes == wanted.classes and found.findings == wanted.findings == ()
    assert [record.image_path.name for record in found.records] == [record.image_path.name for record in wanted.records]
    for ours, theirs in zip(found.records, wanted.records):
        assert (ours.image_id, ours.height, ours.width) == (theirs.image_id, theirs.height, theirs.width)
        assert ours.image_path.read_bytes() == theirs.image_path.read_bytes()
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=0.011 if outlines else 1e-3)  # COCO: two decimals
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        for name in ("crowd", "difficult"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        if outlines and theirs.segments:
            for segment, expected in zip(ours.segments, theirs.segments):
                np.testing.assert_allclose(segment, expected, atol=1e-6)


@pytest.mark.parametrize("polygons", [False, True])
def test_yolo(splits, polygons, tmp_path):
    root = write_yolo(tmp_path / "yolo", polygons=polygons, **splits)

    for split, wanted in splits.items():
        found = load_split(DataSection(dataset="yolo", yolo_root=str(root)), split)

        assert_same_records(found, wanted, outlines=polygons)


def test_labelme(splits, tmp_path):
    root = write_labelme(tmp_path / "labelme", **splits)

    for split, wanted in splits.items():
        found = load_split(DataSection(dataset="labelme", labelme_root=str(root)), split)

        assert_same_records(found, wanted, outlines=True)
