"""The native operators: the numbers of MindSpore's, when they are used, and how they are built."""
from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from src.ops import native
from src.ops.conv2d import Conv2d
from src.ops.native import library
from src.ops.native.depthwise import NativeDepthwise
from src.ops.native.library import BuildError
from src.ops.native.self_check import output_and_gradients

ON_A_CPU = SimpleNamespace(device_target="CPU", native_ops=True, runtime_num_threads=None)
RNG = np.random.default_rng(0)


@pytest.fixture(params=["graph", "PyNative"])
def in_use(request):
    """The library in use, as it was built by `make native`, in both modes of MindSpore."""
    said = native.use(ON_A_CPU)
    if not native.in_use():
        pytest.skip(said)
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE if request.param == "graph" else ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=before)


def random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def assert_alike(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1.0, np.abs(other).max()))


DEPTHWISE = pytest.mark.parametrize("shape, stride, padding", [
    ((2, 3, 9, 7), 1, None), ((2, 3, 9, 7), 2, None), ((2, 3, 8, 6), 2, None), ((2, 3, 8, 6), 2, 1),
    ((1, 1, 1, 40), 1, None), ((1, 2, 1, 1), 2, 1), ((1, 2, 33, 2), 2, None), ((3, 4, 5, 71), 1, 2)], ids=str)


@DEPTHWISE
@pytest.mark.usefixtures("in_use")
def test_depthwise_convolutions_are_mindspores(shape, stride, padding):
    settings = {"pad_mode": "same"} if padding is None else {"pad_mode": "pad", "pad": padding}
    theirs = ops.Conv2D(shape[1], 3, group=shape[1], stride=stride, **settings)
    inputs = random(*shape), random(shape[1], 1, 3, 3)
    assert_alike(*(output_and_gradients(layer, *inputs) for layer in (NativeDepthwise(stride, padding), theirs)))


@pytest.mark.parametrize("stride, padding", [(1, None), (2, None), (2, 1)])
@pytest.mark.usefixtures("in_use")
def test_depthwise_gradients_are_finite_differences(stride, padding):
    x, weight = random(1, 2, 5, 6), random(2, 1, 3, 3)
    layer = NativeDepthwise(stride, padding)
    factors = Tensor(np.random.default_rng(1).standard_normal(layer(Tensor(x), Tensor(weight)).shape), ms.float32)

    def loss(x, weight):
        return float((layer(Tensor(x), Tensor(weight)) * factors).sum().asnumpy())

    _, of_x, of_weight = output_and_gradients(layer, x, weight)
    for number, gradient in ((0, of_x), (1, of_weight)):
        for place in ((0, 0, 0, 0), (-1, 0, 1, 2), (-1, 0, 2, 1)):
            moved = [[array.copy() for array in (x, weight)] for _ in range(2)]
            for inputs, step in zip(moved, (0.5, -0.5)):
                inputs[number][place] += step
            np.testing.assert_allclose(gradient[place], loss(*moved[0]) - loss(*moved[1]), atol=1e-4)


@pytest.mark.usefixtures("in_use")
def test_any_number_of_threads_gives_the_same_bits():
    inputs, found = (random(2, 5, 23, 30), random(5, 1, 3, 3)), []
    for threads in (1, 2, 3):
        native.use(SimpleNamespace(device_target="CPU", native_ops=True, runtime_num_threads=threads))
        found.append(output_and_gradients(NativeDepthwise(2, None), *inputs))
    for arrays in found[1:]:
        for one, other in zip(arrays, found[0]):
            np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("in_use")
def test_other_types_are_refused():
    layer = NativeDepthwise(1, None)
    with pytest.raises(RuntimeError):
        layer(Tensor(random(1, 1, 3, 3), ms.float16), Tensor(random(1, 1, 3, 3), ms.float16)).asnumpy()


@pytest.mark.usefixtures("in_use")
def test_only_depthwise_3x3_convolutions_are_native():
    def is_native(*arguments, **settings):
        return isinstance(Conv2d(*arguments, **settings).convolution, NativeDepthwise)

    assert is_native(4, 4, 3, 2, group=4) and is_native(4, 4, 3, pad_mode="pad", padding=1, group=4)
    for other in ({"group": 2}, {"group": 1}, {"kernel_size": 5}, {"stride": 3}, {"dilation": 2},
                  {"pad_mode": "valid"}, {"pad_mode": "pad", "padding": (0, 1, 0, 1)}):
        assert not is_native(4, 4, **{"kernel_size": 3, "group": 4, **other}), other


@pytest.mark.parametrize("settings, said", [
    ({"device_target": "Ascend"}, "none, they are for a CPU"), ({"native_ops": False}, "off (native_ops)")])
def test_settings_that_leave_them_out(settings, said):
    assert native.use(SimpleNamespace(**{**vars(ON_A_CPU), **settings})) == f"native operators: {said}"
    assert not native.in_use()


def test_a_file_that_is_no_library_is_said(tmp_path):
    (tmp_path / "native.so").write_bytes(b"not a library")
    assert "native.so" in native.use_library(tmp_path / "native.so")
    assert not native.in_use()


def test_an_export_leaves_them(monkeypatch, tmp_path):
    import export
    from src.command_line import load_config

    in_use = []
    monkeypatch.setattr(native, "_library", tmp_path)
    monkeypatch.setattr(export, "set_device", lambda _runtime: None)
    monkeypatch.setattr(export, "export", lambda *_: in_use.append(native.in_use()))
    monkeypatch.setattr(export, "check_model_path", lambda _path: tmp_path / "a.ckpt")
    monkeypatch.setattr(export, "results_folder", lambda *_: tmp_path)
    export.export_model(load_config(["--model_name", "ssd300", "--file_format", "ONNX", "--verbose", "True"], "export"))
    assert in_use == [False]


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    """No library is built yet; the compiler writes a text. Returns the folder of the libraries."""
    monkeypatch.setattr(library, "_folders", lambda: (tmp_path / "environment",))
    monkeypatch.setattr(library, "_compile", lambda target: target.write_text("compiled"))
    monkeypatch.setattr(library, "_compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(library, "_compiler_version", lambda: b"c++ 12")
    library._name.cache_clear()
    yield tmp_path / "environment"
    library._name.cache_clear()


def test_a_library_that_was_checked_is_found(empty_cache):
    assert library.find() is None and "make native" in library.failure()
    checked = []
    assert library.build(checked.append) == library.find()
    assert checked and checked[0].parent != empty_cache
    assert [path.suffix for path in empty_cache.iterdir()] == [".so"]


def test_a_library_that_fails_its_check_is_not_used(empty_cache):
    def check(_path):
        raise BuildError("an operator differs")

    with pytest.raises(BuildError):
        library.build(check)
    assert library.find() is None
    (failed,) = empty_cache.iterdir()
    assert failed.read_text() == "an operator differs\n" and str(failed) in library.failure()
    library.build(lambda _path: None)
    assert [path.suffix for path in empty_cache.iterdir()] == [".so"]


def test_two_builds_at_once_do_not_meet(empty_cache):
    both = threading.Barrier(2, timeout=10)
    builds = [threading.Thread(target=library.build, args=(lambda _path: both.wait(),)) for _ in range(2)]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    assert [path.suffix for path in empty_cache.iterdir()] == [".so"]


@pytest.mark.parametrize("changed", ["_compiler_version", "_processor", "read_file"])
@pytest.mark.usefixtures("empty_cache")
def test_another_compiler_processor_or_source_is_another_library(monkeypatch, changed):
    library.build(lambda _path: None)
    monkeypatch.setattr(library, changed, lambda *_: b"another")
    library._name.cache_clear()
    assert library.find() is None


@pytest.mark.usefixtures("empty_cache")
def test_another_mindspore_is_another_library(monkeypatch):
    library.build(lambda _path: None)
    monkeypatch.setattr(library.metadata, "version", lambda _name: "2.9.9")
    library._name.cache_clear()
    assert library.find() is None


@pytest.mark.usefixtures("empty_cache")
def test_without_a_compiler_nothing_is_built(monkeypatch):
    monkeypatch.setattr(library, "_compiler", lambda: None)
    assert library.find() is None and "g++" in library.failure()
    with pytest.raises(BuildError, match="g\\+\\+"):
        library.build(lambda _path: None)


@pytest.mark.nightly
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing(tmp_path, sanitizer):
    compiler = library._compiler()
    if compiler is None:
        pytest.skip("native operators: no C++ compiler")
    sources = [Path(__file__).with_name("native_shapes.cc"), *sorted(library.SOURCES.glob("*.cc"))]
    subprocess.run([compiler, "-std=c++17", "-O1", "-g", "-march=native", "-Wno-psabi", f"-fsanitize={sanitizer}",
                    "-fno-sanitize-recover=all", "-pthread", "-o", tmp_path / "shapes", *sources], check=True)
    done = subprocess.run([tmp_path / "shapes"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "all equal\n"), done.stderr
