"""The training stream: the same for any number of workers, ranks and any step at which a run resumes."""
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.data.balance import draw_balanced, image_weights
from src.data.identity import DataRequest
from src.data.loader import BATCHES_AHEAD, TrainLoader
from src.data.mindrecord import Place, write_mindrecord
from src.data.mindrecord_description import open_mindrecord
from src.data.records import AnnotationSet, LabelledBox, make_record
from src.errors import DatasetError, ImageError

PROJECT = Path(__file__).resolve().parents[2]
IDS = [5, 12, 17, 30, 31, 44, 58, 60, 71, 99]


def write_set(folder, ids, spoilt=None):
    """Plain images of different sizes whose grey value is their image id; every second one has one object."""
    root = folder / "images"
    root.mkdir()
    records = []
    for number, image_id in enumerate(ids):
        height, width = 20 + number, 30 + number
        path = root / f"{image_id}.png"
        image = cv2.imencode(".png", np.full((height, width, 3), image_id, np.uint8))[1].tobytes()
        path.write_bytes(image[:60] if image_id == spoilt else image)
        objects = [LabelledBox((0, 0, image_id, 10), 0, number)] if number % 2 else []
        records.append(make_record(path, image_id, (height, width), objects, ""))
    found = AnnotationSet(("disc",), (1,), tuple(records), root, "coco", root)
    request = DataRequest("set", root, {"with_masks": False}, "")
    return write_mindrecord(found, lambda found: found, request, Place(folder / "records", "ssd.mindrecord", shards=3))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("loader"), IDS)


def describe(image, target, rng):
    """A transform that tells what it was given."""
    return {"grey": image.mean(dtype=np.float32), "size": np.array(image.shape[:2]),
            "objects": np.int32(len(target["labels"])), "right": target["boxes"][:, 2].sum(), "random": rng.random()}


def stream(files, batch_size=2, seed=1, epoch=0, start_step=0, transform=describe, **options):
    loader = TrainLoader(files, transform, batch_size, seed, **options)
    try:
        return list(loader.epoch(epoch, start_step))
    finally:
        loader.close()


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def ids_of(batches):
    return np.concatenate([batch["image_id"] for batch in batches]).tolist()


@pytest.mark.parametrize("balance, rare", [(0, 1), (0.5, 3), (1, 9)])
def test_an_image_with_a_rare_class_weighs_more(balance, rare):
    """Nine images show class 0, one of them and no other shows class 1; the last one shows nothing."""
    labels = [np.array([0, 0])] * 8 + [np.array([0, 1, 1]), np.array([], int)]

    weights = image_weights(labels, balance)

    np.testing.assert_allclose(weights, [1] * 8 + [rare, 1])
    counts = np.zeros(10)
    for seed in range(500):
        rng = np.random.default_rng(seed)
        drawn = draw_balanced(rng.permutation(10), weights, rng)
        assert len(drawn) == 10
        counts += np.bincount(drawn, minlength=10)
    np.testing.assert_allclose(counts / 500, 10 * weights / weights.sum(), atol=0.1)


def test_balanced_batches_depend_on_seed_and_epoch_alone(files):
    """Of ten images every second one shows an object, so that there is nothing to balance: all are drawn once."""
    batches = stream(files, balance=1.0)
    assert_same(stream(files, balance=1.0, start_step=2, workers=1), batches[2:])
    assert sorted(ids_of(batches)) == IDS and ids_of(stream(files, balance=1.0, epoch=1)) != ids_of(batches)
    of_ranks = [stream(files, batch_size=1, balance=1.0, rank=rank, rank_size=2) for rank in (0, 1)]
    assert [image for step in zip(*map(ids_of, of_ranks)) for image in step] == ids_of(batches)


def test_an_image_that_is_drawn_again_is_augmented_in_another_way(files, monkeypatch):
    monkeypatch.setattr("src.data.loader.image_weights", lambda *_: np.array([40.0] + [1.0] * 9))

    batches = stream(files, balance=0.5)

    repeated = [random for batch in batches for image, random in zip(batch["image_id"], batch["random"])
                if image == IDS[0]]
    assert len(repeated) >= 7 and len(set(repeated)) == len(repeated)


def test_ids_of_rows_are_stored_and_those_of_earlier_files_are_read(files, monkeypatch):
    """Reading them takes 0.1 ms per row: 15 s of every start on a set of COCO's size."""
    assert sorted(files.image_ids) == IDS
    expected = ids_of(stream(files))
    assert ids_of(stream(replace(files, image_ids=()), transform=describe)) == expected
    monkeypatch.setattr("src.data.loader.read_rows", lambda *_: pytest.fail("the ids are stored"))
    TrainLoader(files, describe, 2, 1).close()


def test_an_epoch_is_a_permutation_and_every_row_is_its_own_image(files):
    batches = stream(files)

    order = np.random.default_rng([1, 0]).permutation(10)
    assert ids_of(batches) == [IDS[position] for position in order]
    assert batches[0]["image_id"].dtype == np.int64
    for batch in batches:
        for sample, image_id in enumerate(batch["image_id"]):
            number = IDS.index(image_id)
            assert batch["grey"][sample] == image_id
            assert batch["size"][sample].tolist() == [20 + number, 30 + number]
            assert batch["objects"][sample] == number % 2
            assert batch["right"][sample] == (image_id if number % 2 else 0)
            assert batch["random"][sample] == np.random.default_rng([1, 0, image_id]).random()


def test_the_stream_does_not_depend_on_the_number_of_workers(files):
    assert_same(stream(files, workers=4), stream(files, workers=1))


def test_the_stream_is_the_same_from_processes(files, tmp_path, monkeypatch):
    (tmp_path / "importable.py").write_text("def draw(image, target, rng): return {'random': rng.random(3)}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    from importable import draw

    assert_same(stream(files, transform=draw, workers=2, multiprocessing=True), stream(files, transform=draw))


def test_the_stream_does_not_depend_on_the_order_in_the_files(files, tmp_path):
    for batch, other in zip(stream(files), stream(write_set(tmp_path, IDS[::-1]))):
        for name in ("image_id", "grey", "random"):
            np.testing.assert_array_equal(batch[name], other[name])


def test_a_resumed_epoch_continues_where_it_was(files):
    assert_same(stream(files, epoch=3, start_step=2), stream(files, epoch=3)[2:])
    assert stream(files, start_step=5) == []


def test_epochs_and_seeds_differ_in_order_and_randomness(files):
    first, second, reseeded = stream(files), stream(files, epoch=1), stream(files, seed=2)

    assert sorted(ids_of(first)) == sorted(ids_of(second)) == IDS
    assert ids_of(first) != ids_of(second) and ids_of(first) != ids_of(reseeded)
    numbers = [{int(image_id): number for batch in batches for image_id, number in zip(batch["image_id"],
                                                                                       batch["random"])}
               for batches in (first, second, reseeded)]
    assert all(len({found[image_id] for found in numbers}) == 3 for image_id in IDS)


def test_two_ranks_share_the_batches_of_one(files):
    whole = stream(files, batch_size=4)
    ranks = [stream(files, batch_size=2, rank=rank, rank_size=2) for rank in (0, 1)]

    assert len(whole) == 2  # the remaining 2 of 10 images wait for another epoch
    joined = [{name: np.concatenate([left[name], right[name]]) for name in left} for left, right in zip(*ranks)]
    assert_same(joined, whole)


def test_a_set_smaller_than_a_batch_is_repeated(tmp_path):
    three = write_set(tmp_path, [1, 2, 3])

    batches = stream(three, batch_size=4, rank=1, rank_size=2)

    order = (1 + np.random.default_rng([1, 0]).permutation(3)).tolist()
    assert [batch["image_id"].tolist() for batch in batches] == [(order * 3)[4:8]]


def test_a_broken_image_is_named(tmp_path):
    files = write_set(tmp_path, IDS, spoilt=44)

    with pytest.raises(ImageError, match=r"image 44 \(44\.png\)"):
        stream(files)


def fail_for_58(image, target, rng):
    if target["image_id"] == 58:
        raise IndexError("index 7 is out of bounds")
    return describe(image, target, rng)


def test_an_error_of_the_transform_names_the_image(files):
    with pytest.raises(DatasetError, match=r"image 58 \(58\.png\).*IndexError: index 7 is out of bounds"):
        stream(files, transform=fail_for_58)


def keep_size(image, _target, _rng):
    return {"image": image}


def test_results_of_different_shapes_name_the_images(files):
    with pytest.raises(DatasetError, match=re.escape(f"images {ids_of(stream(files))[:2]}: the transform's results")):
        stream(files, transform=keep_size)


def test_damaged_shards_end_in_one_line(files, tmp_path):
    folder = Path(shutil.copytree(files.description.parent, tmp_path / "records"))
    shard = folder / "ssd.mindrecord0"
    shard.write_bytes(bytes(shard.stat().st_size))

    with pytest.raises(DatasetError, match="ssd.mindrecord0: cannot be read") as caught:
        stream(open_mindrecord(folder, "ssd.mindrecord"))
    assert "\n" not in str(caught.value)


def test_files_that_another_run_replaced_end_the_training_with_the_last_right_step(files, tmp_path):
    folder = Path(shutil.copytree(files.description.parent, tmp_path / "records"))
    loader = TrainLoader(open_mindrecord(folder, "ssd.mindrecord"), describe, 2, 0)
    (folder / "ssd.mindrecord.json").unlink()
    for path in folder.iterdir():
        path.unlink()
    (tmp_path / "other").mkdir()
    others = write_set(tmp_path / "other", IDS[:4])
    shutil.copytree(others.description.parent, folder, dirs_exist_ok=True)

    with pytest.raises(DatasetError, match="Up to step 5 this run was trained on the right data"):
        list(loader.epoch(1))
    loader.close()


def test_batches_are_prepared_ahead_and_an_early_end_leaves_nothing_behind(files):
    prepared = queue.Queue()

    def watched(image, target, rng):
        prepared.put(target["image_id"])
        return describe(image, target, rng)
    loader = TrainLoader(files, watched, 1, seed=0, workers=1)

    batches = loader.epoch(0)
    next(batches)
    for _ in range(BATCHES_AHEAD):
        prepared.get(timeout=60)
    batches.close()
    loader.close()

    assert prepared.empty()


@pytest.mark.skipif(os.name == "nt", reason="needs SIGINT to a process group")
def test_ctrl_c_while_processes_prepare_pictures_ends_the_program(files, tmp_path):
    (tmp_path / "sleepy.py").write_text("import time\n"
                                        "def wait(image, target, rng):\n"
                                        "    time.sleep(0.2)\n"
                                        "    return {}\n")
    program = f"""if True:
        import sys
        from contextlib import closing
        sys.path[:0] = [{str(PROJECT)!r}, {str(tmp_path)!r}]
        from sleepy import wait
        from src.data.loader import TrainLoader
        from src.data.mindrecord_description import open_mindrecord
        files = open_mindrecord({str(files.files[0].parent)!r}, "ssd.mindrecord")
        with closing(TrainLoader(files, wait, 1, seed=0, workers=2, multiprocessing=True)) as loader:
            for epoch in range(1000):
                for batch in loader.epoch(epoch):
                    print("batch", flush=True)
    """
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        assert process.stdout.readline() == "batch\n"
        os.killpg(process.pid, signal.SIGINT)
        _, messages = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert messages.count("Traceback") == 1  # the main process's own; the workers say nothing
