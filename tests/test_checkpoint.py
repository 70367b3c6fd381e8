"""Checkpoints are whole or not there, say whose they are, and fit the network exactly or are refused."""
from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mindspore import Parameter, Tensor, nn

from src.checkpoint import CheckpointFolder, checkpoint_of_run, load_weights, read_weights, save_weights
from src.errors import CheckpointError, ProjectError, TrainingError, UsageError

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("café au lait", "b")


def parameters(value: float) -> dict:
    return {name: Parameter(np.full(shape, value, np.float32), name=name)
            for name, shape in (("conv.weight", (2, 3)), ("conv.bias", (2,)))}


def position(step: int) -> dict:
    return {"epoch": step // 10, "step": step, "best_ap": 0.125}


def save(folder: CheckpointFolder, step: int) -> Path:
    """A checkpoint whose every number is its step."""
    state = {"moments.conv.weight": np.full((2, 3), step, np.float32), "micro_step": np.array(step)}
    return folder.save(parameters(step), state, position(step), "tiny", CLASSES)


def assert_latest_is(folder: CheckpointFolder, step: int) -> None:
    path, state, found = folder.latest()
    assert found == position(step)
    assert {name: array.ravel()[0] for name, array in state.items()} == {"moments.conv.weight": step,
                                                                        "micro_step": step}
    assert {name: array.ravel()[0] for name, array in read_weights(path).arrays.items()} == {"conv.weight": step,
                                                                                            "conv.bias": step}


@pytest.fixture
def folder(tmp_path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "ckpt_0", "tiny", keep=3)


def names(folder: CheckpointFolder) -> set:
    return {path.name for path in folder.folder.iterdir()}


# Save and read

def test_weights_come_back_with_model_and_classes(tmp_path):
    written = {"a": Parameter(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), name="a"),
               "b": Parameter(np.array([np.nan, np.inf, -0.0], np.float32), name="b"),
               "c": Parameter(np.arange(3, dtype=np.int32), name="c"),
               "scalar": Parameter(Tensor(0.5, ms.float32), name="scalar")}
    save_weights(tmp_path / "new" / "a.ckpt", written, "tiny", CLASSES)

    weights = read_weights(tmp_path / "new" / "a.ckpt")

    assert (weights.model_name, weights.classes) == ("tiny", CLASSES)
    assert sorted(weights.arrays) == ["a", "b", "c", "scalar"]
    for name, parameter in written.items():
        assert weights.arrays[name].dtype == parameter.asnumpy().dtype
        assert weights.arrays[name].tobytes() == parameter.asnumpy().tobytes()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.ckpt"]


def test_a_checkpoint_is_an_ordinary_one_for_mindspore(tmp_path):
    save_weights(tmp_path / "a.ckpt", parameters(1), "tiny", CLASSES)
    network = nn.SequentialCell()
    network.conv = nn.Dense(3, 2)
    ms.load_checkpoint(str(tmp_path / "a.ckpt"), network)
    assert (network.conv.weight.asnumpy() == 1).all()


def test_a_checkpoint_of_mindspore_names_no_model(tmp_path):
    ms.save_checkpoint(nn.Dense(3, 2), str(tmp_path / "a.ckpt"))
    weights = read_weights(tmp_path / "a.ckpt")
    assert (weights.model_name, weights.classes, sorted(weights.arrays)) == (None, None, ["bias", "weight"])


def test_the_latest_is_what_was_saved_last(folder):
    with pytest.raises(CheckpointError, match="nothing to resume"):
        folder.latest()
    path = save(folder, 5)
    assert path == folder.folder / "tiny-0_5.ckpt"
    save(folder, 12)
    assert_latest_is(folder, 12)
    assert names(folder) == {"tiny-0_5.ckpt", "tiny-1_12.ckpt", "tiny-1_12.state.npz", "latest.json"}


def test_only_the_newest_are_kept_and_other_files_stay(folder):
    folder.folder.mkdir()
    save_weights(folder.folder / "best_map.ckpt", parameters(0), "tiny", CLASSES)
    for step in (9, 10, 11, 12, 100):
        save(folder, step)
    assert names(folder) == {"tiny-1_11.ckpt", "tiny-1_12.ckpt", "tiny-10_100.ckpt", "tiny-10_100.state.npz",
                             "latest.json", "best_map.ckpt"}
    assert_latest_is(folder, 100)


def test_a_run_folder_stands_for_its_best_checkpoint_or_else_the_latest(folder, tmp_path):
    assert checkpoint_of_run(tmp_path) is None
    latest = save(folder, 5)
    assert checkpoint_of_run(tmp_path) == checkpoint_of_run(tmp_path / "ckpt_0") == latest
    (folder.folder / "best_map.ckpt").touch()
    assert checkpoint_of_run(tmp_path) == folder.folder / "best_map.ckpt"


def test_keeping_one_keeps_the_latest(tmp_path):
    folder = CheckpointFolder(tmp_path, "tiny", keep=1)
    for step in (1, 2):
        save(folder, step)
    assert names(folder) == {"tiny-0_2.ckpt", "tiny-0_2.state.npz", "latest.json"}
    assert_latest_is(folder, 2)


# A save that does not come to its end

class Interrupted(BaseException):
    """What a signal raises."""


def fail_at(monkeypatch, call: int, error: BaseException) -> list:
    """Let the call-th flush or rename fail; returns the list that the calls are noted in."""
    calls = []

    def failing(function):
        def run(*arguments):
            calls.append(function.__name__)
            if len(calls) == call:
                raise error
            return function(*arguments)
        return run

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    return calls


@pytest.mark.parametrize("call", range(1, 7))  # flush and rename of weights, state and pointer
@pytest.mark.parametrize("error, raised", [(OSError(errno.ENOSPC, "No space left on device"), TrainingError),
                                           (Interrupted(), Interrupted)], ids=["full disk", "interrupted"])
def test_an_interrupted_save_leaves_the_previous_pair(folder, monkeypatch, call, error, raised):
    save(folder, 5)
    with monkeypatch.context() as patch:
        calls = fail_at(patch, call, error)
        with pytest.raises(raised) as failure:
            save(folder, 6)
    assert len(calls) == call
    assert_latest_is(folder, 5)
    assert not [name for name in names(folder) if name.startswith(".")]
    if raised is TrainingError:
        assert "No space left on device" in str(failure.value) and "--resume" in str(failure.value)

    save(folder, 7)
    assert_latest_is(folder, 7)


def test_there_is_no_seventh_moment_for_an_interruption(folder, monkeypatch):
    """Otherwise the test above would have to look at it as well."""
    calls = fail_at(monkeypatch, 100, Interrupted())
    save(folder, 5)
    assert calls == ["fsync", "replace"] * 3


def test_a_file_that_cannot_be_written_in_full_is_not_there(tmp_path):
    """The system itself refuses: files of this process may have 200 kB, the weights need 400."""
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from mindspore import Parameter
from src.checkpoint import CheckpointFolder, checkpoint_of_run
from src.entry import run

folder = CheckpointFolder(Path({str(tmp_path)!r}), "tiny", 3)
small, large = np.zeros(10, np.float32), np.zeros(100_000, np.float32)
weights, state = (large, small) if sys.argv[1] == "weights" else (small, large)

def save(step, weights, state):
    folder.save({{"w": Parameter(weights, name="w")}}, {{"m": state}}, {{"epoch": 0, "step": step}}, "tiny", ())

save(1, small, small)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
sys.exit(run(lambda: save(2, weights, state)))
"""
    for what in ("weights", "state"):
        done = subprocess.run([sys.executable, "-c", program, what], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1
        assert "error: " in done.stderr and "could not be saved" in done.stderr and "Traceback" not in done.stderr
        folder = CheckpointFolder(tmp_path, "tiny", 3)
        assert folder.latest()[2]["step"] == 1
        assert not [name for name in names(folder) if name.startswith(".") or name.endswith(".state.npz")
                    and name != "tiny-0_1.state.npz"]


def test_a_disk_that_is_full_at_the_first_checkpoint_has_nothing_to_resume(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    folder = CheckpointFolder(tmp_path, "tiny", 3)
    with monkeypatch.context() as patched:
        patched.setattr("src.checkpoint.write_file", full)
        with pytest.raises(TrainingError, match="there is no checkpoint before it: make room and start the run again"):
            save(folder, 1)
    save(folder, 2)
    monkeypatch.setattr("src.checkpoint.write_file", full)
    with pytest.raises(TrainingError, match="the checkpoint before it is complete: make room and continue with --re"):
        save(folder, 3)


def test_a_file_that_reads_back_otherwise_is_not_kept(tmp_path, monkeypatch):
    read = ms.load_checkpoint

    def wrong(*arguments, **options):
        content = read(*arguments, **options)
        return {**content, "conv.bias": Parameter(content["conv.bias"].asnumpy() + 1, name="conv.bias")}

    monkeypatch.setattr(ms, "load_checkpoint", wrong)
    with pytest.raises(TrainingError, match="conv.bias reads back differently"):
        save_weights(tmp_path / "a.ckpt", parameters(1), "tiny", CLASSES)
    assert list(tmp_path.iterdir()) == []


# What is read back, damaged

def test_nothing_to_resume(folder):
    with pytest.raises(CheckpointError, match="nothing to resume.*latest.json does not exist"):
        folder.latest()


@pytest.mark.parametrize("name", ["latest.json", "tiny-0_5.state.npz"])
@pytest.mark.parametrize("part", [0, 0.3, 0.9, 0.99])
def test_a_torn_file_is_refused(folder, name, part):
    save(folder, 5)
    path = folder.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:int(part * len(content))])
    with pytest.raises(CheckpointError, match="cannot be read.*--pre_trained"):
        folder.latest()


@pytest.mark.parametrize("pointer", ["[]", "7", '{"checkpoint": "tiny-0_5.ckpt"}', '{"checkpoint": 5, "state": 6}',
                                     "\xff"])
def test_a_pointer_that_says_something_else_is_refused(folder, pointer):
    save(folder, 5)
    (folder.folder / "latest.json").write_bytes(pointer.encode("latin-1"))
    with pytest.raises(CheckpointError, match="latest.json"):
        folder.latest()


def test_a_pointer_to_a_missing_state_is_refused(folder):
    save(folder, 5)
    (folder.folder / "tiny-0_5.state.npz").unlink()
    with pytest.raises(CheckpointError, match="tiny-0_5.state.npz does not exist"):
        folder.latest()


def test_a_state_is_never_unpickled(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    save(folder, 5)
    np.savez(folder.folder / "tiny-0_5.state.npz", __position__=np.array(json.dumps(position(5))),
             **{"moments.conv.weight": np.array([Harmful()], dtype=object)})
    with pytest.raises(CheckpointError, match="cannot be read"):
        folder.latest()
    assert not (tmp_path / "executed").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple:
    """A folder with a checkpoint, and the bytes of its state and pointer."""
    folder = CheckpointFolder(tmp_path_factory.mktemp("mutated"), "tiny", keep=3)
    save(folder, 5)
    return folder, {name: (folder.folder / name).read_bytes() for name in ("latest.json", "tiny-0_5.state.npz")}


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_states_and_pointers_end_in_the_project_s_errors(saved, data):
    folder, whole = saved
    broken = data.draw(st.sampled_from(sorted(whole)))
    for name, content in whole.items():
        (folder.folder / name).write_bytes(mutated(content, data) if name == broken else content)
    try:
        folder.latest()
    except ProjectError as error:
        assert str(folder.folder) in str(error)


def mutated(content: bytes, data) -> bytes:
    """`content` with some bytes changed, a piece taken out, or cut off."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start = data.draw(st.integers(0, len(content)))
    length = data.draw(st.sampled_from([0, 0, 1, 7, len(content)]))
    return bytes(content[:start] + content[start + length:])


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory) -> dict:
    """A checkpoint of ours and one of MindSpore without check sum."""
    folder = tmp_path_factory.mktemp("whole")
    save_weights(folder / "ours.ckpt", parameters(1), "tiny", CLASSES)
    items = [{"name": name, "data": parameter} for name, parameter in parameters(1).items()]
    ms.save_checkpoint(items, str(folder / "plain.ckpt"), append_dict={"model_name": "tiny", "classes": '["a", "b"]'})
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["ours", "plain"])
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_checkpoints_end_in_the_project_s_errors(checkpoint_bytes, tmp_path, kind, data):
    path = tmp_path / "mutated.ckpt"
    content = mutated(checkpoint_bytes[kind], data)
    path.write_bytes(content)
    try:
        weights = read_weights(path)
        if kind == "ours" and content != checkpoint_bytes["ours"]:
            assert {name: array.tolist() for name, array in weights.arrays.items()} == {
                name: parameter.asnumpy().tolist() for name, parameter in parameters(1).items()}
        load_weights(network(), weights, no_zoo)
    except ProjectError as error:
        assert str(path) in str(error)


def test_a_checkpoint_that_is_cut_between_two_entries_is_refused(checkpoint_bytes, tmp_path):
    """Without the check sum at its end what is left is a whole file to MindSpore; ours says how much there was."""
    content, path = checkpoint_bytes["ours"], tmp_path / "cut.ckpt"
    for cut in range(1, len(content)):
        path.write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match="cannot be read as a MindSpore checkpoint"):
            read_weights(path)


def test_a_checkpoint_with_fewer_parameters_than_it_says_is_refused(tmp_path):
    items = [{"name": name, "data": parameter} for name, parameter in parameters(1).items()]
    ms.save_checkpoint(items, str(tmp_path / "a.ckpt"), append_dict={"parameter_count": "3"}, crc_check=True)
    with pytest.raises(CheckpointError, match="2 of 3 parameters are there"):
        read_weights(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [b"", b"model:\n  model_name: ssd300\n", b"\x89PNG\r\n\x1a\n" * 50, b"\0" * 1000,
                                     b"PK\x03\x04" + b"x" * 100],
                         ids=["empty", "text", "picture", "zeros", "zip"])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a.ckpt cannot be read as a MindSpore checkpoint \({len(content)} "):
        read_weights(path)


def test_a_folder_or_nothing_is_refused(tmp_path):
    (tmp_path / "folder.ckpt").mkdir()
    for name in ("folder.ckpt", "missing.ckpt"):
        with pytest.raises(UsageError, match=name):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("classes", ["7", '{"a": 1}', '"cat"', "not json"])
def test_class_names_that_are_no_list_are_refused(tmp_path, classes):
    path = tmp_path / "a.ckpt"
    items = [{"name": name, "data": parameter} for name, parameter in parameters(1).items()]
    ms.save_checkpoint(items, str(path), append_dict={"classes": classes})
    with pytest.raises(CheckpointError, match="a.ckpt"):
        read_weights(path)


# Into a network

class Tiny(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Dense(3, 2, weight_init="zeros", bias_init="zeros")


def network() -> nn.Cell:
    return Tiny()


def no_zoo(_name):
    return None


def weights_file(tmp_path, **arrays):
    """Weights of a file that holds these arrays; a dot in a name is written as two underscores."""
    path = tmp_path / "a.ckpt"
    save_weights(path, {name.replace("__", "."): Parameter(np.asarray(array, np.float32), name=name)
                        for name, array in arrays.items()}, "tiny", CLASSES)
    return read_weights(path)


def test_loads_by_name(tmp_path):
    tiny = network()
    kept = load_weights(tiny, weights_file(tmp_path, conv__weight=np.full((2, 3), 4), conv__bias=[5, 6]), no_zoo)
    assert kept == []
    assert tiny.conv.weight.asnumpy().tolist() == [[4, 4, 4]] * 2 and tiny.conv.bias.asnumpy().tolist() == [5, 6]


def test_what_does_not_fit_is_listed_from_both_sides_and_changes_nothing(tmp_path):
    tiny = network()
    weights = weights_file(tmp_path, conv__weight=np.ones((2, 4)), conv__scale=[1, 1])
    with pytest.raises(CheckpointError) as refusal:
        load_weights(tiny, weights, no_zoo)
    message = str(refusal.value)
    assert "a.ckpt (written for model tiny with 2 classes) does not fit the network" in message
    assert "missing in the file: conv.bias" in message
    assert "of another shape: conv.weight: file (2, 4), network (2, 3)" in message
    assert "unknown to the network: conv.scale" in message
    assert not tiny.conv.weight.asnumpy().any()


@pytest.mark.parametrize("arrays", [
    {"conv__weight": np.ones((2, 3))},
    {"conv__weight": np.ones((2, 3)), "conv__bias": [1, 1], "conv__scale": [1, 1]},
    {"conv__weight": np.ones((3, 2)), "conv__bias": [1, 1]},
    {"other__weight": np.ones((2, 3))},
], ids=["missing", "unknown", "transposed", "another network"])
def test_anything_that_does_not_fit_is_an_error(tmp_path, arrays):
    tiny = network()
    with pytest.raises(CheckpointError, match="does not fit the network"):
        load_weights(tiny, weights_file(tmp_path, **arrays), no_zoo)
    assert not tiny.conv.weight.asnumpy().any() and not tiny.conv.bias.asnumpy().any()


def test_no_names_are_guessed(tmp_path):
    """MindSpore's load_param_into_net would take a common prefix away."""
    with pytest.raises(CheckpointError, match="missing in the file: conv.weight"):
        load_weights(network(), weights_file(tmp_path, net__conv__weight=np.ones((2, 3)), net__conv__bias=[1, 1]),
                     no_zoo)


def test_long_lists_are_cut(tmp_path):
    with pytest.raises(CheckpointError, match="and 7 more"):
        load_weights(network(), weights_file(tmp_path, **{f"layer{n}": [1] for n in range(12)}), no_zoo)


@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path, number):
    weights = weights_file(tmp_path, conv__weight=np.full((2, 3), number), conv__bias=[1, 1])
    with pytest.raises(CheckpointError, match=r"6 of the 6 numbers of conv.weight are not finite .* earlier"):
        load_weights(network(), weights, no_zoo)


@pytest.mark.parametrize("arrays", [{}, {"conv__bias": [1, 1, 1, 1]}, {"conv__bias": [1, 1]}],
                         ids=["absent", "another shape", "fitting"])
def test_what_may_be_missing_keeps_its_initial_value(tmp_path, arrays):
    tiny = network()
    kept = load_weights(tiny, weights_file(tmp_path, conv__weight=np.ones((2, 3)), **arrays), no_zoo,
                        may_be_missing=("conv.bias",))
    assert kept == ["conv.bias"]
    assert tiny.conv.weight.asnumpy().all() and not tiny.conv.bias.asnumpy().any()


def test_only_a_part_is_loaded(tmp_path):
    tiny = network()
    kept = load_weights(tiny, weights_file(tmp_path, conv__weight=np.ones((2, 3)), conv__bias=[1, 1]), no_zoo,
                        only=("conv.weight",))
    assert kept == ["conv.bias"] and not tiny.conv.bias.asnumpy().any()


def test_half_precision_is_widened(tmp_path):
    path = tmp_path / "half.ckpt"
    ms.save_checkpoint([{"name": "conv.weight", "data": Tensor(np.full((2, 3), 0.5, np.float16))},
                        {"name": "conv.bias", "data": Tensor(np.zeros(2, np.float16))}], str(path))
    tiny = network()
    load_weights(tiny, read_weights(path), no_zoo)
    assert tiny.conv.weight.dtype == ms.float32 and (tiny.conv.weight.asnumpy() == 0.5).all()


# Files of the old zoo

ZOO_NAMES = {"network.dense.weight": "conv.weight", "network.dense.bias": "conv.bias"}
OPTIMIZER = ("moments.network.dense.weight", "moments.network.dense.bias", "global_step", "learning_rate", "momentum",
             "scale_sense", "current_iterator_step", "last_overflow_iterator_step", "moment1.network.dense.weight",
             "moment2.network.dense.weight", "beta1_power", "beta2_power", "accum.network.dense.weight",
             "stat.network.dense.weight")


def test_a_checkpoint_of_the_zoo_is_renamed_and_its_optimizer_left_out(tmp_path):
    arrays = {"network.dense.weight": np.ones((2, 3)), "network.dense.bias": [2, 2],
              **{name: [1] for name in OPTIMIZER}}
    path = tmp_path / "zoo.ckpt"
    ms.save_checkpoint([{"name": name, "data": Tensor(np.asarray(array, np.float32))}
                        for name, array in arrays.items()], str(path))
    tiny = network()
    assert load_weights(tiny, read_weights(path), ZOO_NAMES.get) == []
    assert (tiny.conv.weight.asnumpy() == 1).all() and (tiny.conv.bias.asnumpy() == 2).all()


def test_what_the_zoo_called_otherwise_is_reported_with_its_name(tmp_path):
    weights = weights_file(tmp_path, network__dense__weight=np.ones((2, 3)), network__mask__weight=[1])
    with pytest.raises(CheckpointError) as refusal:
        load_weights(network(), weights, ZOO_NAMES.get)
    assert "missing in the file: conv.bias" in str(refusal.value)
    assert "unknown to the network: network.mask.weight" in str(refusal.value)
