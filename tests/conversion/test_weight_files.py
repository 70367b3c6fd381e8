"""Files of PyTorch and safetensors: what they hold, and that nothing in them is ever run."""
from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from src.conversion.files import read_any_weights
from src.errors import CheckpointError, ProjectError

FILES = Path(__file__).resolve().parents[1] / "golden" / "weight_files"
NAMES = ["zip.pth", "legacy.pth", "a.safetensors"]
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
WANTED = {"plain": NUMBERS, "half": NUMBERS.astype(np.float16), "bfloat16": NUMBERS, "double": NUMBERS.astype(float),
          "long": np.array(7), "flags": np.array([True, False]), "transposed": NUMBERS.transpose(2, 0, 1),
          "tail": NUMBERS[1], "empty": np.zeros((0, 3), np.float32), "parameter": NUMBERS[0]}


def same(have: dict, wanted: dict) -> bool:
    return set(have) == set(wanted) and all(
        have[name].dtype == array.dtype and have[name].shape == array.shape and (have[name] == array).all()
        for name, array in wanted.items())


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_tensor_is_read(name):
    assert same(read_any_weights(FILES / name).arrays, WANTED)


def test_the_end_of_the_name_of_a_pytorch_file_does_not_matter(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes((FILES / "zip.pth").read_bytes())
    assert same(read_any_weights(path).arrays, WANTED)


# Files that want to do something

def zip_of(folder: Path, pickled: bytes, **storages: bytes) -> Path:
    path = folder / "written.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key.strip('_')}", content)
    return path


class Harmful:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_nothing_that_a_file_names_is_called(tmp_path, protocol):
    trap = tmp_path / "executed"
    path = zip_of(tmp_path, pickle.dumps({"weight": Harmful(trap)}, protocol))
    with pytest.raises(CheckpointError, match="written.pth holds 'weight': an object of .*, which is not a tensor"):
        read_any_weights(path)
    assert not trap.exists()


@pytest.mark.parametrize("content, words", [
    ({"weight": [1.0, 2.0]}, "'weight': a list, which is not a tensor"),
    ({1: 2}, "'1': a int"),
    ([1, 2], "a list where a dictionary of tensors should be"),
    ({"args": io.BytesIO()}, r"an object of _io.BytesIO, .* torch.save\(model.state_dict\(\)"),
    ({"weight": np.float64(1)}, "an object of numpy"),
    (OrderedDict(state_dict={"a": None}), "'a': a NoneType"),
])
def test_anything_but_named_tensors_is_refused_by_name(tmp_path, content, words):
    with pytest.raises(CheckpointError, match=words):
        read_any_weights(zip_of(tmp_path, pickle.dumps(content, 2)))


class FakeStorage:
    """Pickles as a storage of PyTorch."""

    def __init__(self, *reference):
        self.reference = reference


def tensor_pickle(offset, shape, strides, reference=("storage", None, "0", "cpu", 6)) -> bytes:
    """A dictionary with one float tensor, as PyTorch pickles it; it would be a view of the storage 0."""
    return pickled({"weight": tensor(offset, shape, strides, reference)})


def tensor(offset=0, shape=(2, 3), strides=(3, 1), reference=("storage", None, "0", "cpu", 6)):
    """Pickles as a tensor of PyTorch; by default the whole of the storage 0, six numbers."""
    kind, _, *rest = reference
    return Rebuilt(FakeStorage(kind, complex, *rest), offset, shape, strides)


def pickled(content) -> bytes:
    """Pickled as torch.save does."""
    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return item.reference if isinstance(item, FakeStorage) else None

    # Names of PyTorch's that cannot be imported here are put in afterwards, in the place of builtins of ours.
    file = io.BytesIO()
    Pickler(file, 2).dump(content)
    return (file.getvalue().replace(b"c__builtin__\ncomplex\n", b"ctorch\nFloatStorage\n")
            .replace(b"c__builtin__\nslice\n", b"ctorch._utils\n_rebuild_tensor_v2\n"))


class Rebuilt:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return slice, self.arguments


SIX = np.arange(6, dtype=np.float32)


def test_a_view_is_read_by_offset_and_strides(tmp_path):
    path = zip_of(tmp_path, tensor_pickle(1, (2, 2), (2, 1)), _0=SIX.tobytes())
    assert read_any_weights(path).arrays["weight"].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("offset, shape, strides", [
    (0, (7,), (1,)), (1, (6,), (1,)), (0, (2, 3), (4, 1)), (-1, (2,), (1,)), (0, (-2,), (1,)), (0, (2,), (-1,)),
    (0, (2, 3), (1,)), (0, (10 ** 12,), (0,)), (0, ("2",), (1,)), (0, (2.0,), (1,)), (10 ** 30, (1,), (1,)),
])
def test_a_tensor_outside_its_storage_is_refused(tmp_path, offset, shape, strides):
    path = zip_of(tmp_path, tensor_pickle(offset, shape, strides), _0=SIX.tobytes())
    with pytest.raises(CheckpointError, match="a tensor (has|of) the shape"):
        read_any_weights(path)


@pytest.mark.parametrize("reference", [
    ("storage", None, "1", "cpu", 6), ("storage", None, "0", "cpu", 5), ("storage", None, "0", "cpu", 10 ** 15),
    ("storage", None, "0", "cpu", -6), ("storage", None, 0, "cpu", 6), ("module", None, "0", "cpu", 6),
    ("storage", None, "0", "cpu", 6, ("view", 0, 6)), ("storage", None, "../data.pkl", "cpu", 6),
])
def test_a_storage_that_is_not_there_or_of_another_size_is_refused(tmp_path, reference):
    path = zip_of(tmp_path, tensor_pickle(0, (2,), (1,), reference), _0=SIX.tobytes())
    with pytest.raises(CheckpointError, match="written.pth cannot be read as a PyTorch file"):
        read_any_weights(path)


# Pickled: number 80 of the memo is a tuple that holds number 79 twice, and so on. Its hash and its text never end.
NESTED_TUPLES = b")q\0" + b"".join(b"h%ch%c\x86q%c" % (level, level, level + 1) for level in range(80))
THE_LAST_ONE = b"h\x50"


def test_nested_tuples_are_refused_at_once_as_a_key_and_as_a_shape(tmp_path):
    with pytest.raises(CheckpointError, match="a tuple as the key of a dictionary, which is not a tensor"):
        read_any_weights(zip_of(tmp_path, b"\x80\x02" + NESTED_TUPLES + b"}" + THE_LAST_ONE + b"Ns."))
    shaped = NESTED_TUPLES + tensor_pickle(0, "shape", (1,)).replace(b"X\x05\0\0\0shape", THE_LAST_ONE)
    with pytest.raises(CheckpointError, match="a tensor has the shape or the strides of none"):
        read_any_weights(zip_of(tmp_path, shaped, _0=SIX.tobytes()))


def test_an_index_that_is_far_too_large_takes_no_memory(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="it holds no tensors"):
        read_any_weights(zip_of(tmp_path, b"\x80\x02}r\xff\xff\xff\x7f."))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # kB


def test_tensors_that_share_a_storage_share_its_memory(tmp_path):
    path = zip_of(tmp_path, pickled({"a": tensor(), "b": tensor()}), _0=SIX.tobytes())
    arrays = read_any_weights(path).arrays
    assert np.shares_memory(arrays["a"], arrays["b"])


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10 ** 6)
    with pytest.raises(CheckpointError, match="compressed, which PyTorch's are not"):
        read_any_weights(path)


# Files that hold more than weights

class Settings:
    """Pickles as an object of a class that is not there where the file is read; appended to and given keys, too."""

    def __reduce_ex__(self, _protocol):
        return Settings, (np.float64(1), {("a", 1): 2}), {"lr": 0.1}, iter([1, 2]), iter([("key", Settings)])


@pytest.mark.parametrize("content, taken", [
    ({"model": {"a": tensor()}, "optimizer": {"state": {0: {"step": 1}}}, "args": Settings(), "epoch": 3}, "model"),
    ({"args": Settings(), "state_dict": {"a": tensor()}, "hyper_parameters": {"net": Settings}}, "state_dict"),
    ({"meta": {"time": "now"}, "state_dict": {"a": tensor()}, "message_hub": {"loss": Settings()}}, "state_dict"),
    ({"model_state_dict": {"a": tensor()}}, "model_state_dict"),
    ({"net": {"a": tensor()}}, "net"),
    ({"model": {"a": tensor(1, (2,), (1,))}, "model_ema": {"module.a": tensor(), "n_averaged": tensor()}},
     "model_ema (moving average of the weights); names that begin with module. (1 others left out: n_averaged)"),
    ({"state_dict": {"a": tensor(1, (2,), (1,))}, "state_dict_ema": {"a": tensor()}},
     "state_dict_ema (moving average of the weights)"),
    ({"model": {"a": tensor(1, (2,), (1,))}, "ema": {"module": {"a": tensor()}, "updates": 7}},
     "ema.module (moving average of the weights)"),
    # mmengine exchanges the two dictionaries when it saves.
    ({"state_dict": {"a": tensor()}, "ema_state_dict": {"module.a": tensor(1, (2,), (1,))}, "message_hub": {}},
     "state_dict (moving average of the weights)"),
])
def test_of_a_training_checkpoint_the_weights_are_taken_the_averaged_ones_first(tmp_path, content, taken):
    weights = read_any_weights(zip_of(tmp_path, pickled(content), _0=SIX.tobytes()))
    assert {name: array.tolist() for name, array in weights.arrays.items()} == {"a": [[0, 1, 2], [3, 4, 5]]}
    assert weights.note == taken


def test_a_pickled_model_among_other_things_is_named(tmp_path):
    path = zip_of(tmp_path, pickled({"epoch": 1, "model": Settings(), "ema": None}))
    with pytest.raises(CheckpointError, match=r"holds 'model': an object of \S*Settings, which is not a tensor"):
        read_any_weights(path)


@pytest.mark.parametrize("names, note", [
    (["module.conv.weight", "module.fc.weight"], "names that begin with module."),
    (["model.conv.weight", "model.fc.weight", "loss.weight"],
     "names that begin with model. (1 others left out: loss.weight)"),
    (["module.model.conv.weight", "module.model.fc.weight"],
     "names that begin with module.; names that begin with model."),
    (["module.encoder_q.conv.weight", "module.encoder_q.fc.weight", "module.encoder_k.conv.weight",
      "module.encoder_k.fc.weight", "module.queue"],
     "names that begin with module.encoder_q. (3 others left out: module.encoder_k.conv.weight, "
     "module.encoder_k.fc.weight, module.queue)"),
])
def test_the_prefix_of_a_wrapper_is_taken_off_and_said(tmp_path, names, note):
    safetensors.numpy.save_file({name: SIX for name in names}, tmp_path / "a.safetensors")
    weights = read_any_weights(tmp_path / "a.safetensors")
    assert (list(weights.arrays), weights.note) == (["conv.weight", "fc.weight"], note)


# Pickles of NumPy's arrays, as in detectron2's model zoo

def pickle_of(folder: Path, content, protocol: int = 4) -> Path:
    path = folder / "model_final.pkl"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


ARRAYS = {"columns first": np.asfortranarray(NUMBERS[0]), "big-endian": SIX.astype(">f4"), "number": np.array(7),
          "half": SIX.astype(np.float16), "flags": np.array([True, False]), "empty": np.zeros((0, 3), np.float32),
          "part": NUMBERS[:, 1]}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_of_numpy_are_read_out_of_a_pickle(tmp_path, protocol):
    content = {"model": ARRAYS, "__author__": "Detectron2 Model Zoo", "matching_heuristics": False}
    weights = read_any_weights(pickle_of(tmp_path, content, protocol))
    assert same(weights.arrays, ARRAYS) and weights.note == "model"


def test_names_of_numpy_2_and_bytes_of_python_2_are_known(tmp_path):
    content = pickle.dumps({"a": SIX}, 3)
    renamed = content.replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    assert renamed != content and same(read_any_weights(pickle_of(tmp_path, renamed)).arrays, {"a": SIX})
    short = np.array([1.0, -2.0], np.float32)  # 8 bytes: SHORT_BINBYTES in Python 3, SHORT_BINSTRING in Python 2
    content = pickle.dumps({"a": short}, 3)
    renamed = content.replace(b"C\x08" + short.tobytes(), b"U\x08" + short.tobytes())
    assert renamed != content and same(read_any_weights(pickle_of(tmp_path, renamed)).arrays, {"a": short})


@pytest.mark.parametrize("content, words", [
    ({"model": {"a": Settings()}}, r"is a pickle that holds 'a': an object of \S*Settings, which is not an array"),
    ({"a": 1.0}, "is a pickle that holds 'a': a float"),
    ({"a": np.array(["text"])}, "an array has numbers of the kind 'U4'"),
    ({"a": np.array([None])}, "an array has numbers of the kind 'O8'"),
    ({"a": np.array([1j])}, "an array has numbers of the kind 'c16'"),
    (pickle.dumps({"a": SIX}, 4).replace(b"K\x06\x85", b"K\x07\x85"), "content that does not fit its shape"),
    (pickle.dumps({"a": SIX}, 4)[:-40], "model_final.pkl cannot be read as a pickle of NumPy's arrays .*copy it again"),
    (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "holds a PickledArray where a dictionary of tensors"),
    (b"\x80\x02}X\x01\0\0\0acnumpy.core.multiarray\n_reconstruct\n)Rs.", "an array has no content"),
    (b"\x80\x02cnumpy\nndarray\n)R.", "the pickle calls something that is no function"),
    (b"\x80\x02K\x01Q.", "the pickle refers to something outside of it"),
])
def test_a_pickle_of_anything_else_is_refused_by_name(tmp_path, content, words):
    with pytest.raises(CheckpointError, match=words):
        read_any_weights(pickle_of(tmp_path, content))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_nothing_that_a_pickle_of_arrays_names_is_called(tmp_path, protocol):
    trap = tmp_path / "executed"
    with pytest.raises(CheckpointError, match="which is not an array of NumPy"):
        read_any_weights(pickle_of(tmp_path, {"model": {"a": SIX, "b": Harmful(trap)}}, protocol))
    assert not trap.exists()


@given(data=st.data(), protocol=st.sampled_from([2, 4, 5]))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_pickles_of_arrays_end_in_the_project_s_errors(tmp_path, data, protocol):
    content = bytearray(pickle.dumps({"model": ARRAYS}, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(2, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = pickle_of(tmp_path, bytes(content[:data.draw(st.sampled_from([len(content), len(content) // 2]))]))
    try:
        for array in read_any_weights(path).arrays.values():
            assert isinstance(array, np.ndarray) and array.sum() is not None
    except ProjectError as error:
        assert str(path) in str(error)


# Files of other formats

def archive_of(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"\0" * 100)


@pytest.mark.parametrize("name, write, words", [
    ("a.npz", lambda path: np.savez(path, a=SIX), r"an archive of NumPy \(.npz\)"),
    ("a.npy", lambda path: np.save(path, SIX), r"an array of NumPy"),
    ("a.pt", lambda path: archive_of(path, "a/data.pkl", "a/constants.pkl", "a/code/a.py"), "a TorchScript program"),
    ("a.keras", lambda path: archive_of(path, "config.json", "model.weights.h5"), "a model of Keras"),
    ("a.h5", lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 64), "an HDF5 file"),
    ("a.tflite", lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 64), "a TensorFlow Lite model"),
    ("a.onnx", lambda path: path.write_bytes(b"\x08\x07"), "an ONNX model"),
    ("a.ckpt.data-00000-of-00001", lambda path: path.write_bytes(b"\0" * 9), "a part of a TensorFlow checkpoint"),
])
def test_a_file_of_another_format_is_named_and_not_called_damaged(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name} is {words}.*not read here. Weights are read from: ") as error:
        read_any_weights(tmp_path / name)
    assert "damaged" not in str(error.value)


# Damaged files

@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_refused(tmp_path, name, part):
    content = (FILES / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[:int(part * len(content))])
    with pytest.raises(CheckpointError, match=f"{name} cannot be read.*copy it again"):
        read_any_weights(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 8, b"\2\0\0\0\0\0\0\0[]", b"\2\0\0\0\0\0\0\0{]",
                                     (10 ** 15).to_bytes(8, "little") + b"{}"])
def test_a_broken_header_of_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="a.safetensors cannot be read"):
        read_any_weights(path)


@pytest.mark.parametrize("about", [
    {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]},
    {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}, {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]},
    {"dtype": "F32", "shape": [2]}, {"dtype": "F32", "shape": [10 ** 20, 0], "data_offsets": [0, 0]}, 7,
])
def test_a_safetensors_header_that_does_not_fit_its_content_is_refused(tmp_path, about):
    header = json.dumps({"weight": about}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match="a.safetensors cannot be read"):
        read_any_weights(path)


@pytest.mark.parametrize("second", [
    '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}',
    '"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}',
    '"b": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}',
])
def test_a_safetensors_header_that_names_a_tensor_or_a_byte_twice_is_refused(tmp_path, second):
    header = ('{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, ' + second + "}").encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(CheckpointError, match="a.safetensors cannot be read"):
        read_any_weights(path)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_files_end_in_the_project_s_errors(tmp_path, name, data):
    content = bytearray((FILES / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start, length = data.draw(st.integers(0, len(content))), data.draw(st.sampled_from([0, 0, 1, 9, len(content)]))
    path = tmp_path / name
    path.write_bytes(content[:start] + content[start + length:])
    try:
        for array in read_any_weights(path).arrays.values():
            assert isinstance(array, np.ndarray) and array.sum() is not None
    except ProjectError as error:
        assert str(path) in str(error)


@given(pickled=st.binary(max_size=200))
@example(pickled=b"\x80\x02]q\0h\0a.")  # a list that holds itself
@example(pickled=b"(" * 100 + b"t" * 100 + b".")
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_pickle_ends_in_the_project_s_errors(tmp_path, pickled):
    with pytest.raises(CheckpointError):
        read_any_weights(zip_of(tmp_path, pickled))


# Against PyTorch itself

@pytest.mark.parametrize("zipped", [True, False])
def test_a_module_s_weights_are_those_that_pytorch_reads(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LSTM(4, 5))
    torch.save(module.state_dict(), tmp_path / "module.pth", _use_new_zipfile_serialization=zipped)
    assert same(read_any_weights(tmp_path / "module.pth").arrays,
                {name: tensor.numpy() for name, tensor in module.state_dict().items()})


def test_a_whole_pickled_module_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Conv2d(3, 4, 3), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match="an object of torch.nn.modules.conv.Conv2d"):
        read_any_weights(tmp_path / "module.pth")
