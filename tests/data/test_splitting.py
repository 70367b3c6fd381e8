"""A validation split that is drawn: by content, with all classes in both parts, the same every time."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from other_forms import write_labelme, write_yolo

from src.data.annotations import load_split
from src.data.audit import audit
from src.data.identity import request_of
from src.data.recognise import recognise, with_data
from src.data.records import LabelledBox, Size, make_record
from src.data.shapes import draw_shapes
from src.data.splitting import NO_OBJECTS, draw_validation_split
from src.errors import AnnotationError, UsageError
from src.settings.config import Config
from src.settings.schema import DataSection
from tools import split_dataset


def record(number, labels):
    objects = [LabelledBox((0, 0, 1, 1), label, 1) for label in labels]
    return make_record(Path(f"/set/{number}.jpg"), number, Size(4, 4), objects, "a.json")


sets_of_labels = st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=2, max_size=40)


@given(labels=sets_of_labels, fraction=st.floats(0.05, 0.95), seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_the_split_depends_on_content_alone_and_keeps_copies_together(labels, fraction, seed):
    records = [record(number, shown) for number, shown in enumerate(labels)]
    digests = [f"{number % 30}" for number in range(len(records))]      # some images are copies

    chosen = draw_validation_split(records, digests, fraction, seed)

    assert len({(digest, part) for digest, part in zip(digests, chosen)}) == len(set(digests))
    renamed = [replace(one, image_id=900 - one.image_id, image_path=Path("/x")) for one in reversed(records)]
    assert draw_validation_split(renamed, digests[::-1], fraction, seed)[::-1] == chosen


def test_every_class_is_in_both_parts_in_the_same_proportion():
    labels = [[0]] * 60 + [[0, 1]] * 30 + [[2]] * 2 + [[]] * 10
    records = [record(number, shown) for number, shown in enumerate(labels)]
    digests = [str(number) for number in range(len(records))]

    chosen = draw_validation_split(records, digests, 0.2, seed=1)

    counts = {label: sum(part for shown, part in zip(labels, chosen) if label in (shown or [NO_OBJECTS]))
              for label in (0, 1, 2, NO_OBJECTS)}
    assert counts == {0: 18, 1: 6, 2: 1, NO_OBJECTS: 2}
    assert draw_validation_split(records, digests, 0.2, seed=2) != chosen


def test_a_single_image_is_trained_on():
    assert draw_validation_split([record(1, [0])], ["a"], 0.5, seed=1) == [False]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "shapes"
    draw_shapes(root, train=12, val=1, size=(64, 48))
    return load_split(DataSection(coco_root=str(root)), "train")


@pytest.mark.parametrize("form", ["yolo", "labelme"])
def test_the_tool_writes_a_list_that_all_programs_take(drawn, tmp_path, capsys, form):
    root = write_yolo(tmp_path, train=drawn) if form == "yolo" else write_labelme(tmp_path, train=drawn)
    before = request_of(DataSection(**recognise(root)), "train", with_masks=False)

    assert split_dataset.main(["--data", str(root), "--val_fraction", "0.25"]) == 0

    printed = capsys.readouterr().out
    data = DataSection(**recognise(root), val_list=str(root / "val_images.txt"))
    train, val = load_split(data, "train"), load_split(data, "val")
    assert f"images        {len(train.records)}      {len(val.records)}\n" in printed and 2 <= len(val.records) <= 4
    names = [[one.image_path.name for one in part.records] for part in (train, val)]
    assert sorted(names[0] + names[1]) == [one.image_path.name for one in drawn.records]
    for part in (train, val):
        assert audit(part, progress=False).report.findings == ()
    after = request_of(data, "train", with_masks=False)
    assert after.fingerprint != before.fingerprint and "val_list/val_images.txt" in after.described["annotations"]
    with pytest.raises(UsageError, match="val_images.txt: is there already; remove it"):
        split_dataset.main(["--data", str(root)])


def test_the_list_lies_where_data_finds_it(drawn, tmp_path, capsys):
    root = write_labelme(tmp_path, train=drawn)
    split_dataset.main(["--data", str(root)])
    capsys.readouterr()

    found = with_data(Config(model={"model_name": "any"}, data=DataSection(data_root=str(root)))).data

    assert found.val_list == str(root / "val_images.txt") and "--val_list" in capsys.readouterr().out
    assert len(load_split(found, "val").records) > 0


@pytest.mark.parametrize("text, message", [
    ("train/none.jpg\n", "val_images.txt:1: 'train/none.jpg' is not an image of"), ("\n", "names no image")])
def test_a_list_of_other_images_is_refused(drawn, tmp_path, text, message):
    root = write_labelme(tmp_path, train=drawn)
    (root / "val_images.txt").write_text(text)

    with pytest.raises(AnnotationError, match=message):
        load_split(DataSection(**recognise(root), val_list=str(root / "val_images.txt")), "train")


@pytest.mark.parametrize("flags, message", [
    (["--val_fraction", "20"], "--val_fraction 20: give a number between 0 and 1"),
    ([], "name the data set with --data"),
    (["--data", "{root}", "--clases", "cat"], "did you mean classes"),
    (["--data", "{root}"], "has a validation split already; nothing was written"),
])
def test_wrong_use(drawn, tmp_path, flags, message):
    root = write_yolo(tmp_path, train=drawn, val=drawn)

    with pytest.raises(UsageError, match=message):
        split_dataset.main([flag.format(root=root) for flag in flags])
    assert not (root / "val_images.txt").exists()


def test_an_image_outside_the_folder_is_not_opened(drawn, tmp_path):
    root = write_labelme(tmp_path / "set", train=drawn)
    image = root / "train" / drawn.records[0].image_path.name
    image.rename(tmp_path / image.name)
    image.symlink_to(tmp_path / image.name)

    with pytest.raises(AnnotationError, match=f"{image.name} leads to .*, which is not below .*outside_root=keep"):
        split_dataset.main(["--data", str(root)])
    assert split_dataset.main(["--data", str(root), "--audit_policy", "outside_root=keep"]) == 0


def test_an_image_that_cannot_be_read_is_named(drawn, tmp_path):
    root = write_labelme(tmp_path, train=drawn)
    (root / "train" / drawn.records[3].image_path.name).unlink()

    with pytest.raises(AnnotationError, match=f"{drawn.records[3].image_path.name}: cannot be read; audit.py"):
        split_dataset.main(["--data", str(root)])
    assert not (root / "val_images.txt").exists()
