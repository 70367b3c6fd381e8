"""MindRecord: what is written comes back, and what is not ours, not finished or not current is not trained on."""
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data import identity, mindrecord, mindrecord_description
from src.data.coco_json import load_coco
from src.data.identity import DataRequest
from src.data.mindrecord import Place, current_files, prepare_mindrecord, wait_for_mindrecord, write_mindrecord
from src.data.mindrecord_description import open_mindrecord
from src.data.mindrecord_rows import read_rows
from src.data.records import AnnotationSet, LabelledBox, make_record
from src.data.shapes import draw_shapes
from src.errors import DatasetError, ProjectError

PROJECT = Path(__file__).resolve().parents[2]
PREFIX = "ssd.mindrecord"
TRIANGLE = [[1.0, 1.0, 9.0, 1.0, 5.0, 8.0]]
RLE = {"size": [40, 60], "counts": "0d1"}


def draw_set(root, ids=(7, 3, 11)):
    """Pictures of 60 x 40; id 3 has no object, id 7 one, id 11 two, of which one is a crowd and one difficult."""
    root.mkdir(parents=True, exist_ok=True)
    objects = {
        7: [LabelledBox((1, 1, 9, 8), 0, 1, segment=TRIANGLE)],
        11: [LabelledBox((0, 0, 60, 40), 1, 2, crowd=True, segment=RLE, area=1200.0),
             LabelledBox((10.5, 4.25, 20, 14), 0, 3, difficult=True)],
    }
    records = []
    for image_id in sorted(ids):
        path = root / f"bild {image_id} ä.png"
        image = np.full((40, 60, 3), image_id % 256, np.uint8)
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes() + b"\0\0")
        records.append(make_record(path, image_id, (40, 60), objects.get(image_id, []), "instances.json"))
    return AnnotationSet(classes=("ring", "disc"), category_ids=(4, 90), records=tuple(records), root=root,
                         format="coco", source=root / "instances.json")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An annotation set and the folder with its MindRecord; copy the folder before changing it."""
    folder = tmp_path_factory.mktemp("written")
    annotations = draw_set(folder / "images")
    prepare(annotations, folder / "records")
    return annotations, folder / "records"


def asked_for(annotations, with_masks=True):
    """The request that `request_of` would make of settings for these annotations."""
    described = {"classes": annotations.classes, "with_masks": with_masks,
                 "annotations": [[record.image_id, record.boxes.tolist()] for record in annotations.records]}
    fingerprint = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return DataRequest("set", annotations.root, json.loads(json.dumps(described)), fingerprint)


def place(folder, shards=2):
    return Place(folder, PREFIX, shards)


def prepare(annotations, folder, shards=2, with_masks=True, audit=lambda found: found, **options):
    return prepare_mindrecord(asked_for(annotations, with_masks), place(folder, shards), load=lambda: annotations,
                              audit=audit, **options)


def copy_of(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def forbidden_audit(_annotations):
    raise AssertionError("the files are current, nothing is to be audited or written")


# --- what is written comes back

def test_every_field_comes_back_also_from_a_moved_folder(written, tmp_path):
    annotations, folder = written

    files = open_mindrecord(copy_of(folder, tmp_path), PREFIX)
    rows = {row["image_id"]: row for row in read_rows(files, [0, 1, 2])}

    assert [path.name for path in files.files] == ["ssd.mindrecord0", "ssd.mindrecord1"]
    assert (files.classes, files.category_ids) == (("ring", "disc"), (4, 90))
    assert (files.image_count, files.max_objects, files.with_masks) == (3, 2, True)
    assert sorted(rows) == [3, 7, 11]
    for record in annotations.records:
        row = rows[record.image_id]
        assert row["image"] == record.image_path.read_bytes()
        assert row["file"] == f"bild {record.image_id} ä.png"
        assert (row["height"], row["width"]) == (40, 60)
        for name in ("boxes", "labels", "crowd", "difficult", "areas"):
            expected = getattr(record, name)
            np.testing.assert_array_equal(row[name], expected)
            assert row[name].dtype == expected.dtype and row[name].shape == expected.shape
    assert rows[3]["boxes"].shape == (0, 4)
    assert [rows[image_id]["segments"] for image_id in (3, 7, 11)] == [None, [TRIANGLE], [RLE, []]]


def test_rows_come_in_the_order_asked_for_and_may_be_repeated(written):
    _, folder = written
    files = open_mindrecord(folder, PREFIX)

    in_order = [row["image_id"] for row in read_rows(files, [0, 1, 2], ["image_id"])]
    asked = [row["image_id"] for row in read_rows(files, [2, 0, 0, 1, 2], ["image_id"])]

    assert asked == [in_order[index] for index in (2, 0, 0, 1, 2)]


def test_more_shards_than_images_a_single_shard_and_no_masks(tmp_path):
    annotations = draw_set(tmp_path / "images")

    eight = prepare(annotations, tmp_path / "eight", shards=8, with_masks=False)
    one = prepare(annotations, tmp_path / "one", shards=1, with_masks=False)

    assert [path.name for path in eight.files] == [f"ssd.mindrecord{index}" for index in range(8)]
    assert [path.name for path in one.files] == ["ssd.mindrecord"]
    for files in (eight, one):
        rows = list(read_rows(files, [0, 1, 2]))
        assert sorted(row["image_id"] for row in rows) == [3, 7, 11]
        assert all("segments" not in row for row in rows)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) - 40, 3_000_000])
def test_an_image_of_any_size_has_its_page(tmp_path, size):
    """One that fills a page to the last byte, one that does so with what MindRecord adds, and one beyond it."""
    annotations = draw_set(tmp_path / "images")
    path = annotations.records[0].image_path
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))

    files = prepare(annotations, tmp_path / "records")

    assert size in [len(row["image"]) for row in read_rows(files, [0, 1, 2])]


def test_outlines_take_little_space(tmp_path):
    """The old zoo stored a byte per object and pixel of the image: 15 times the size of the images on COCO."""
    draw_shapes(tmp_path / "shapes", train=40, val=1, size=(640, 480))
    annotations = load_coco(tmp_path / "shapes" / "annotations" / "instances_train2017.json",
                            tmp_path / "shapes" / "train2017")
    stored = sum(record.image_path.stat().st_size for record in annotations.records)
    bitmaps = sum(len(record.labels) * record.height * record.width for record in annotations.records)

    prepare(annotations, tmp_path / "records")

    assert sum(path.stat().st_size for path in (tmp_path / "records").iterdir()) < 2 * stored < 0.5 * bitmaps


def test_a_set_without_images_is_refused(tmp_path):
    nothing = replace(draw_set(tmp_path / "images"), records=())

    with pytest.raises(DatasetError, match="no image is left"):
        prepare(nothing, tmp_path / "records")


# --- current or not

def test_current_files_are_used_without_an_audit(written):
    annotations, folder = written

    files = prepare(annotations, folder, audit=forbidden_audit)

    assert files == open_mindrecord(folder, PREFIX)


def test_stale_files_are_named_and_written_anew(written, tmp_path, capsys):
    annotations, folder = written
    folder = copy_of(folder, tmp_path)
    fewer = replace(annotations, records=annotations.records[:2])

    assert current_files(asked_for(fewer), place(folder)) is None
    files = prepare(fewer, folder, shards=1)

    assert files.image_count == 2
    assert "stale, annotations changed since it was written. It is written again." in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == ["ssd.mindrecord", "ssd.mindrecord.db",
                                                              "ssd.mindrecord.json"]


def set_with_records(folder):
    annotations = draw_set(folder / "images")
    prepare(annotations, folder / "records")
    return annotations, folder / "records"


def test_an_image_with_other_content_of_the_same_size_is_noticed(tmp_path, capsys):
    """A bitmap has the same number of bytes whatever it shows; two files may also have swapped their names."""
    annotations, folder = set_with_records(tmp_path)
    path = annotations.records[1].image_path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    prepare(annotations, folder)

    assert "stale, the image bild 7 ä.png changed since it was written" in capsys.readouterr().out
    rows = {row["image_id"]: row["image"] for row in read_rows(open_mindrecord(folder, PREFIX), [0, 1, 2])}
    assert rows[7] == bytes(content)


def test_an_image_that_the_audit_left_out_is_taken_in_when_it_is_mended(tmp_path, capsys):
    annotations = draw_set(tmp_path / "images")
    annotations.records[0].image_path.unlink()

    def without_first(found):
        return replace(found, records=found.records[1:])
    prepare(annotations, tmp_path / "records", audit=without_first)
    assert prepare(annotations, tmp_path / "records", audit=forbidden_audit).image_count == 2
    draw_set(tmp_path / "images")

    assert prepare(annotations, tmp_path / "records").image_count == 3
    assert "the image bild 3 ä.png changed" in capsys.readouterr().out


def test_a_copied_data_set_is_read_once_and_then_known_by_its_times(tmp_path, monkeypatch):
    annotations, folder = set_with_records(tmp_path)
    for record in annotations.records:
        os.utime(record.image_path, (1, 1))

    prepare(annotations, folder, audit=forbidden_audit)

    read = []
    monkeypatch.setattr(identity, "sha256_of", read.append)
    prepare(annotations, folder, audit=forbidden_audit)
    assert read == []


def test_current_files_are_used_from_a_folder_that_can_only_be_read(tmp_path):
    annotations, folder = set_with_records(tmp_path)
    (folder / "ssd.mindrecord.failed").write_text("of another user")
    for record in annotations.records:
        os.utime(record.image_path, (1, 1))
    write_calls = []

    def read_only(*_, **__):
        write_calls.append(1)
        raise OSError(errno.EROFS, "Read-only file system")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((Path, "unlink"), (Path, "mkdir"), (mindrecord_description, "write_file"),
                             (mindrecord, "write_file"), (mindrecord, "locked")):
            patch.setattr(module, name, read_only)
        files = prepare(annotations, folder, audit=forbidden_audit)

    assert files.image_count == 3 and write_calls


def test_shards_can_be_read_by_those_who_can_read_the_description(written):
    _, folder = written

    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "ssd.mindrecord1.db").unlink(),
    lambda folder: os.truncate(folder / "ssd.mindrecord0", 1000),
])
def test_missing_and_short_shards_are_half_written(written, tmp_path, damage):
    annotations, folder = written
    folder = copy_of(folder, tmp_path)
    damage(folder)

    with pytest.raises(DatasetError, match=r"ssd\.mindrecord[01].*: half-written or damaged"):
        open_mindrecord(folder, PREFIX, asked_for(annotations))


def rows_of(folder) -> list:
    return list(read_rows(open_mindrecord(folder, PREFIX), range(3)))


@pytest.mark.parametrize("image_id", [3, 7, 11])
def test_an_image_with_other_bytes_than_were_written_is_not_trained_on(written, tmp_path, image_id):
    """Shards keep their size, so that only the content tells; tests/cli/test_mutated_files.py changes other bytes."""
    annotations, folder = written
    (record,) = (record for record in annotations.records if record.image_id == image_id)
    image = record.image_path.read_bytes()
    copied = shutil.copytree(folder, tmp_path / "records")
    (path,) = (path for path in copied.glob(f"{PREFIX}?") if image in path.read_bytes())
    changed = bytes([*image[:-9], image[-9] ^ 1, *image[-8:]])
    path.write_bytes(path.read_bytes().replace(image, changed))
    with pytest.raises(DatasetError, match=f"{PREFIX}0: cannot be read, row . is not as it was written; delete"):
        rows_of(copied)


def test_changed_boxes_are_noticed_and_files_of_earlier_versions_are_read_unchecked(written, tmp_path):
    copied = shutil.copytree(written[1], tmp_path / "records")
    box = np.array([10.5, 4.25, 20, 14], np.float32).tobytes()
    (path,) = (path for path in copied.glob(f"{PREFIX}?") if box in path.read_bytes())
    path.write_bytes(path.read_bytes().replace(box, np.array([10.5, 4.25, 20, 15], np.float32).tobytes()))
    with pytest.raises(DatasetError, match="row 2 is not as it was written; delete the MindRecord files"):
        rows_of(copied)
    description = copied / f"{PREFIX}.json"
    meta = json.loads(description.read_text())
    assert len(meta.pop("checksums")) == 3
    description.write_text(json.dumps(meta))
    assert any(row["boxes"].ravel()[-1:] == 15 for row in rows_of(copied))


def test_a_description_that_does_not_say_it_is_complete_is_half_written(tmp_path):
    (tmp_path / "a.json").write_text('{"format": "object detection MindRecord", "version": 2}')
    with pytest.raises(DatasetError, match="a.json: half-written"):
        open_mindrecord(tmp_path, "a")


def test_nothing_there_is_said_so(tmp_path):
    with pytest.raises(DatasetError, match="there is no MindRecord of this name"):
        open_mindrecord(tmp_path / "nowhere", PREFIX)


@pytest.mark.parametrize("name, content", [("ssd.mindrecord0", b"zoo"), ("ssd.mindrecord.json", b'{"a": 1}')])
def test_foreign_files_are_refused_and_left_alone(written, tmp_path, name, content):
    annotations, _ = written
    (tmp_path / name).write_bytes(content)

    def write(found, folder):
        return write_mindrecord(found, lambda found: found, asked_for(found), place(folder))
    for attempt in (prepare, write):
        with pytest.raises(DatasetError, match="left as they are"):
            attempt(annotations, tmp_path)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: content}


# --- interrupted

@pytest.mark.parametrize("error, expected, message", [
    (OSError(errno.ENOSPC, "No space left on device"), DatasetError, "cannot be written.*No space left on device"),
    (RuntimeError("Syntax error.\n-----\n[ERROR] Disk is full.\nfile.cc(9)."), DatasetError, "written, Disk is full"),
    (KeyboardInterrupt(), KeyboardInterrupt, "^$"),
])
def test_a_failed_write_keeps_the_old_files(written, tmp_path, monkeypatch, error, expected, message):
    from mindspore.mindrecord import FileWriter
    annotations, folder = written
    folder = copy_of(folder, tmp_path)
    before = sorted(path.name for path in folder.iterdir())

    def fail(*_):
        raise error
    monkeypatch.setattr(FileWriter, "commit", fail)
    with pytest.raises(expected, match=message):
        prepare(replace(annotations, classes=("a", "b")), folder)

    assert sorted(path.name for path in folder.iterdir()) == before
    assert prepare(annotations, folder, audit=forbidden_audit).classes == ("ring", "disc")


def test_an_image_that_vanished_is_named(written, tmp_path):
    annotations, _ = written
    gone = replace(annotations.records[0], image_path=annotations.root / "gone.png")

    with pytest.raises(DatasetError, match="gone.png"):
        prepare(replace(annotations, records=(gone,)), tmp_path / "records")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_kill_at_any_moment_is_noticed_and_repaired(written, tmp_path, capsys):
    """A process kills itself while it writes, then another one while it moves the second file into place."""
    annotations, _ = written
    folder = tmp_path / "records"
    program = """if True:
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from mindspore.mindrecord import FileWriter
        from src.data import mindrecord
        from src.data.identity import DataRequest
        from src.data.records import AnnotationSet, make_record

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        replace, moved = os.replace, []
        def die_at_second_shard(source, target):
            if ".json" not in str(target):
                moved.append(target)
            replace(source, target) if len(moved) < 2 else die()

        root, folder = Path(sys.argv[2]), Path(sys.argv[3])
        paths = sorted(root.iterdir())
        records = tuple(make_record(path, number, (40, 60), [], "") for number, path in enumerate(paths))
        found = AnnotationSet(("a",), (1,), records, root, "coco", root)
        request = DataRequest("set", root, {"with_masks": False}, "")
        place = mindrecord.Place(folder, "ssd.mindrecord", 2)
        if not os.fork():
            FileWriter.commit = die
            mindrecord.write_mindrecord(found, lambda found: found, request, place)
        os.wait()
        print(*os.listdir(folder), flush=True)
        os.replace = die_at_second_shard
        mindrecord.write_mindrecord(found, lambda found: found, request, place)
    """
    done = subprocess.run([sys.executable, "-c", program, str(PROJECT), str(annotations.root), str(folder)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert re.fullmatch(r"\.ssd\.mindrecord\.writing-\w+\n", done.stdout)  # all that the first one left
    assert (folder / "ssd.mindrecord0").exists() and not (folder / "ssd.mindrecord1").exists()

    with pytest.raises(DatasetError, match="half-written"):
        open_mindrecord(folder, PREFIX)
    files = prepare(annotations, folder)

    assert "half-written" in capsys.readouterr().out
    assert sorted(row["image_id"] for row in read_rows(files, [0, 1, 2], ["image_id"])) == [3, 7, 11]
    assert not list(folder.glob(".*"))


# --- several runs on one folder

def test_files_that_another_run_replaces_are_not_read_on(tmp_path):
    annotations, folder = set_with_records(tmp_path)
    files = open_mindrecord(folder, PREFIX)
    rows = read_rows(files, [0, 1, 2], ["image_id", "labels", "count"])
    first = next(rows)

    prepare(replace(annotations, classes=("disc", "ring")), folder)

    assert {first["image_id"], *(row["image_id"] for row in rows)} == {3, 7, 11}  # what was open stays as it was
    with pytest.raises(DatasetError, match="another run has written these MindRecord files again"):
        next(read_rows(files, [0]))


def test_files_written_anew_with_the_same_content_are_read_on(tmp_path):
    annotations, folder = set_with_records(tmp_path)
    files = open_mindrecord(folder, PREFIX)

    prepare(annotations, folder, force=True)

    assert len(list(read_rows(files, [0, 1, 2]))) == 3


def test_of_two_first_starts_one_waits_for_the_other(tmp_path, capsys):
    annotations = draw_set(tmp_path / "images")
    writing, go_on = threading.Event(), threading.Event()

    def slow_audit(found):
        writing.set()
        assert go_on.wait(60)
        return found
    first = threading.Thread(target=prepare, args=(annotations, tmp_path / "records"), kwargs={"audit": slow_audit})
    first.start()
    assert writing.wait(60)
    with pytest.raises(DatasetError, match=rf"process {os.getpid()} on .* has been writing these files for 0 s"):
        prepare(annotations, tmp_path / "records", timeout=0)
    threading.Timer(1, go_on.set).start()

    files = prepare(annotations, tmp_path / "records", audit=forbidden_audit)

    first.join()
    assert files.image_count == 3
    assert "is writing these files; waiting for it" in capsys.readouterr().out
    assert not list((tmp_path / "records").glob(".*"))


# --- other ranks

def wait(annotations, folder, **options):
    return wait_for_mindrecord(asked_for(annotations).fingerprint, place(folder), **options)


def test_another_rank_looks_at_no_image(written, monkeypatch):
    annotations, folder = written
    monkeypatch.setattr(identity, "os", None)

    assert wait(annotations, folder, timeout=0).image_count == 3


def test_another_rank_waits_until_files_that_are_always_written_again_are(written, tmp_path):
    annotations, folder = written
    folder = copy_of(folder, tmp_path)
    os.utime(folder / f"{PREFIX}.json", (mindrecord.STARTED - 10,) * 2)

    with pytest.raises(DatasetError, match="not written again yet"):
        wait(annotations, folder, force=True, timeout=0)
    prepare(annotations, folder, force=True)
    assert wait(annotations, folder, force=True, timeout=0).image_count == 3


def test_another_rank_takes_what_rank_0_wrote(written):
    annotations, folder = written

    files = wait(annotations, folder, timeout=0)

    assert files.image_count == 3


def test_another_rank_waits_only_so_long(written, tmp_path, monkeypatch):
    annotations, folder = written
    other_set, waits = replace(annotations, classes=("a", "b")), []
    monkeypatch.setattr(mindrecord, "time", SimpleNamespace(monotonic=lambda: sum(waits), sleep=waits.append))

    with pytest.raises(DatasetError, match=r"rank 0 did not write it within 2\.5 s.* no MindRecord of this name"):
        wait(annotations, tmp_path / "nowhere", timeout=2.5)
    assert waits == [1, 1, 1]
    with pytest.raises(DatasetError, match="within 0.5 s.* stale"):
        wait(other_set, folder, timeout=0.5)
    assert waits == [1, 1, 1, 0.5]


def test_a_failure_of_rank_0_ends_the_waiting(written, tmp_path):
    annotations, _ = written

    def failing_audit(_annotations):
        raise DatasetError("12 images are truncated")
    with pytest.raises(DatasetError, match="12 images"):
        prepare(annotations, tmp_path / "records", rank_size=2, audit=failing_audit)
    with pytest.raises(DatasetError, match="rank 0 could not prepare it.*12 images are truncated"):
        wait(annotations, tmp_path / "records", timeout=60)

    failed = tmp_path / "records" / "ssd.mindrecord.failed"
    os.utime(failed, (mindrecord.STARTED - 10,) * 2)
    with pytest.raises(DatasetError, match="did not write it within"):  # the failure of a former run means nothing
        wait(annotations, tmp_path / "records", timeout=0)
    prepare(annotations, tmp_path / "records", rank_size=2)
    assert not failed.exists()


# --- a json edited by hand

def test_any_content_of_the_json_ends_in_a_message(written, tmp_path):
    _, folder = written
    folder = copy_of(folder, tmp_path)
    path = folder / "ssd.mindrecord.json"
    original = json.loads(path.read_text(encoding="utf-8"))
    values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                          lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                                      max_size=3), max_leaves=6)

    @settings(max_examples=150, deadline=None)
    @given(key=st.sampled_from(sorted(original)), value=values, garbage=st.none() | st.binary(max_size=30))
    def check(key, value, garbage):
        path.write_bytes(garbage if garbage is not None else json.dumps({**original, key: value}).encode())
        try:
            files = open_mindrecord(folder, PREFIX)
        except ProjectError:
            return
        assert len(files.files) == 2 and len(files.classes) == len(files.category_ids)

    check()
