"""The drawn data set: what is annotated is what is to be seen."""
import cv2
import numpy as np
import pytest

from src.data import shapes
from src.data.coco_json import load_coco
from src.data.images import read_image
from src.data.records import inside
from src.errors import DatasetError, UsageError
from tools import draw_shapes


def load(folder, split):
    return load_coco(folder / "annotations" / f"instances_{split}2017.json", folder / f"{split}2017")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn") / "shapes"
    assert shapes.draw_shapes(folder, train=30, val=10, seed=5)
    return folder


def test_the_default_coco_keys_find_a_sound_set(drawn):
    train, val = load(drawn, "train"), load(drawn, "val")

    assert train.classes == ("circle", "rectangle", "triangle")
    assert (len(train.records), len(val.records)) == (30, 10) and train.findings == val.findings == ()
    assert not {record.image_id for record in train.records} & {record.image_id for record in val.records}
    for record in train.records + val.records:
        assert inside(drawn, record.image_path)
        assert read_image(record.image_path).shape == (record.height, record.width, 3)
        assert 200 <= record.width <= 280 and 150 <= record.height <= 210 and len(record.boxes) <= 6


def test_boxes_are_the_extent_of_the_polygons_inside_the_image(drawn):
    boxes = 0
    for record in load(drawn, "train").records:
        for box, area, polygons in zip(record.boxes, record.areas, record.segments or ()):
            outline = np.float32(polygons[0]).reshape(-1, 2)
            np.testing.assert_allclose(box, [*outline.min(axis=0), *outline.max(axis=0)], atol=0.02)
            assert area == pytest.approx(cv2.contourArea(outline), abs=3)
            assert (box >= 0).all() and box[2] <= record.width and box[3] <= record.height
            share = (box[2:] - box[:2]).max() / min(record.width, record.height)
            assert 0.249 <= share <= 0.601
            boxes += 1
    assert boxes > 60


def test_every_shape_stays_visible_and_has_its_own_plain_colour():
    """Inside the rim, the pixels that no later shape covers are of one colour, up to noise."""
    checked = 0
    for seed in range(40):
        image, objects = shapes.draw_image((240, 180), np.random.default_rng(seed))
        masks = []
        for _, outline in objects:
            masks.append(np.zeros(image.shape[:2], np.uint8))
            cv2.fillPoly(masks[-1], [np.round(outline).astype(np.int32)], 1)
        for index, mask in enumerate(masks):
            covered = np.max([np.zeros_like(mask), *masks[index + 1:]], axis=0)
            assert (mask & ~covered).sum() >= 0.33 * mask.sum()  # the limit of 0.35, less what rounding takes
            rim = np.ones((7, 7), np.uint8)  # 3 pixels: half its width, its soft edge, and rounding
            inner = image[(cv2.erode(mask, rim) == 1) & (cv2.dilate(covered, rim) == 0)]
            if len(inner) > 50:
                assert (np.abs(inner - np.median(inner, axis=0)) < 40).mean() > 0.95
                checked += 1
    assert checked > 80


def test_some_pictures_are_empty():
    counts = [len(shapes.draw_image((96, 72), np.random.default_rng(seed))[1]) for seed in range(300)]

    assert 1 <= counts.count(0) <= 15 and max(counts) == 6


def test_the_same_seed_gives_the_same_files_and_another_seed_others(drawn, tmp_path):
    shapes.draw_shapes(tmp_path / "again", train=30, val=10, seed=5)
    shapes.draw_shapes(tmp_path / "other", train=30, val=10, seed=6)

    files = sorted(path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file())
    assert len(files) == 43
    assert all((tmp_path / "again" / name).read_bytes() == (drawn / name).read_bytes() for name in files)
    assert any((tmp_path / "other" / name).read_bytes() != (drawn / name).read_bytes() for name in files)


def test_a_finished_set_is_kept_and_a_different_one_refused(drawn, capsys):
    marker = (drawn / "settings.json").stat().st_mtime_ns

    assert draw_shapes.main(["--output", str(drawn), "--train", "30", "--val", "10", "--seed", "5"]) == 0
    assert "are there already, kept" in capsys.readouterr().out
    assert draw_shapes.main(["--output", str(drawn), "--train", "31", "--val", "10", "--seed", "5"]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert (drawn / "settings.json").stat().st_mtime_ns == marker


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_folder_with_something_else_is_not_touched(tmp_path, content):
    (tmp_path / "settings.json").write_bytes(content)

    with pytest.raises(UsageError, match="holds something else"):
        shapes.draw_shapes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


@pytest.mark.parametrize("arguments", [dict(train=0), dict(val=-1), dict(size=(10, 100)), dict(seed=-1)])
def test_impossible_arguments_are_refused(tmp_path, arguments):
    with pytest.raises(UsageError):
        shapes.draw_shapes(tmp_path / "set", **arguments)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes, "_write_split", full)
    with pytest.raises(DatasetError, match="No space left on device"):
        shapes.draw_shapes(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(shapes.KINDS))
def test_a_kind_shows_what_it_says(kind, tmp_path):
    assert shapes.draw_shapes(tmp_path / kind, train=24, val=12, kind=kind)
    assert not shapes.draw_shapes(tmp_path / kind, train=24, val=12, kind=kind)
    found, what = load(tmp_path / kind, "train"), shapes.KINDS[kind]
    true = load(tmp_path / kind, "val")

    assert found.findings == true.findings == ()
    shown = [record for record in true.records if len(record.boxes)]
    assert all(len(record.boxes) <= what.shapes[1] for record in shown)
    sides = np.concatenate([(record.boxes[:, 2:] - record.boxes[:, :2]).max(axis=1) / min(record.height, record.width)
                            for record in shown])
    assert (sides > what.relative_size[0] - 0.01).all() and (sides < what.relative_size[1] + 0.01).all()
    labels = np.concatenate([record.labels for record in shown])
    ratios = np.concatenate([np.ptp(record.boxes.reshape(-1, 2, 2), axis=1) for record in shown])
    ratio = np.median(ratios.max(axis=1) / ratios.min(axis=1))
    assert (ratio > 1.7) == (kind == "elongated")
    if kind == "unbalanced":
        assert (labels == 0).mean() > 0.6
    if kind == "crowded":
        assert np.mean([len(record.boxes) for record in shown]) > 8


def test_wrong_labels_are_in_the_training_images_alone(tmp_path):
    for kind in ("shapes", "noisy"):
        shapes.draw_shapes(tmp_path / kind, train=20, val=5, kind=kind)
    (right, wrong), (val, same) = ([load(tmp_path / kind, split).records for kind in ("shapes", "noisy")]
                                   for split in ("train", "val"))

    assert all(np.array_equal(a.boxes, b.boxes) and np.array_equal(a.labels, b.labels) for a, b in zip(val, same))
    assert sum(len(record.boxes) for record in wrong) < sum(len(record.boxes) for record in right)
    differ = sum(not (a.boxes.shape == b.boxes.shape and np.array_equal(a.boxes, b.boxes)
                      and np.array_equal(a.labels, b.labels)) for a, b in zip(right, wrong))
    assert 5 <= differ <= 18


def test_an_unknown_kind_is_named(tmp_path):
    with pytest.raises(UsageError, match="kind huge: there are shapes, large"):
        shapes.draw_shapes(tmp_path / "x", kind="huge")
