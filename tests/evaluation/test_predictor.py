"""Batches, order and readers of the predictor, with a detector whose numbers can be followed."""
from __future__ import annotations

import sys
import threading
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from src.errors import CheckpointError, ImageError, UsageError
from src.evaluation.predictor import Predictor, mindir_runner, onnx_runner, openvino_runner
from src.ops.detections import Detections


class Brightest:
    """One detection per picture, as large as the picture: its score is the network's output."""

    def views(self, image, one_shape):
        assert not one_shape
        return [(np.full((3, 4, 4), image.mean() / 255, np.float32), image.shape[:2])]

    def further_inputs(self, _geometry):
        return ()

    def postprocess_views(self, outputs, geometries):
        (((score,),), ((height, width),)) = outputs, geometries
        return Detections(np.array([[0, 0, width, height]], np.float32), score[None], np.zeros(1, np.int32))


def picture(number: int) -> np.ndarray:
    """Each of its own size and brightness."""
    return np.full((10 + number, 20 + number, 3), number, np.uint8)


def predictor(batch_size: int, calls=None) -> Predictor:
    """Its network is compiled for one batch size and takes no other."""
    def run(images):
        assert images.shape == (batch_size, 3, 4, 4) and images.dtype == np.float32
        if calls is not None:
            calls.append(images[:, 0, 0, 0] * 255)
        return [images.mean((1, 2, 3))]

    return Predictor(Brightest(), run, batch_size)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 40])
def test_the_batch_size_changes_no_detection_and_no_order(count):
    pictures = [picture(number) for number in range(count)]
    for batch_size in (1, 3):
        found = predictor(batch_size)(pictures)
        assert len(found) == count
        for number, detections in enumerate(found):
            assert detections.boxes.tolist() == [[0, 0, 20 + number, 10 + number]]
            np.testing.assert_allclose(detections.scores, number / 255, rtol=1e-5)


@pytest.mark.parametrize("value, batch_size", [(np.nan, 1), (np.inf, 3)])
def test_numbers_that_are_not_finite_are_refused_by_image(value, batch_size):
    def run(images):
        scores = images.mean((1, 2, 3))
        return [np.where(np.isclose(scores * 255, 2), value, scores)]

    predictor, refused = Predictor(Brightest(), run, batch_size), {}
    items = [(f"key{number}", number) for number in range(4)]
    assert [key for key, _ in predictor.stream(items, picture, 1, refused.__setitem__)] == ["key0", "key1", "key3"]
    assert list(refused) == ["key2"]
    assert str(refused["key2"]).startswith("image key2: 1 of the 1 numbers of the network's output 0 are not finite")
    with pytest.raises(ImageError, match="image key2: "):
        list(predictor.stream(items, picture, 1))


def test_a_smaller_last_batch_is_filled_up_and_cut():
    calls = []
    found = predictor(3, calls)([picture(number) for number in range(4)])
    np.testing.assert_allclose(calls, [[0, 1, 2], [3, 3, 3]], atol=1e-4)
    assert len(found) == 4


def test_the_order_is_kept_when_reading_takes_different_times():
    def read(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return picture(number)

    stream = predictor(2).stream(((f"key {number}", number) for number in range(20)), read, workers=4)
    assert [(key, round(float(found.scores[0] * 255))) for key, found in stream] == [
        (f"key {number}", number) for number in range(20)]


def test_only_some_pictures_are_read_ahead():
    """Memory does not grow with the number of pictures."""
    lock, read_so_far = threading.Lock(), []

    def read(number):
        with lock:
            read_so_far.append(number)
        return picture(number)

    stream = predictor(1).stream(((number, number) for number in range(200)), read, workers=4)
    next(stream)
    assert len(read_so_far) <= 20
    assert len(list(stream)) == 199 and sorted(read_so_far) == list(range(200))


def test_a_picture_that_cannot_be_read_ends_the_stream_with_its_error():
    def read(number):
        if number == 5:
            raise ImageError("b.jpg: truncated")
        return picture(number)

    stream = predictor(2).stream(((number, number) for number in range(10)), read, workers=2)
    with pytest.raises(ImageError, match="b.jpg: truncated"):
        list(stream)


def test_time_is_counted_per_picture():
    tested = predictor(3)
    tested([picture(number) for number in range(4)])
    assert tested.timing.images == 4
    assert tested.timing.ms_per_image > 0
    assert predictor(3).timing.ms_per_image == 0


# Exported files

@pytest.mark.parametrize("content", [b"", b"plain text", b"\0" * 500, b"\x08\x07\x12\x04" + b"\xff" * 200],
                         ids=["empty", "text", "zeros", "almost"])
@pytest.mark.parametrize("runner, name, kind", [(mindir_runner, "a.mindir", "MindIR"), (onnx_runner, "a.onnx", "ONNX")])
def test_a_broken_file_is_refused(tmp_path, runner, name, kind, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} cannot be loaded as {kind}: "):
        runner(tmp_path / name)


@pytest.fixture(scope="module")
def doubling(tmp_path_factory):
    """{ending: file} of a network that doubles (2, 3)."""
    import mindspore as ms

    class Double(ms.nn.Cell):
        def construct(self, images):
            return images * 2, images + 1

    folder = tmp_path_factory.mktemp("exported")
    for file_format in ("MINDIR", "ONNX"):
        ms.export(Double(), ms.Tensor(np.zeros((2, 3), np.float32)), file_name=str(folder / "double"),
                  file_format=file_format)
    return {ending: folder / f"double.{ending}" for ending in ("mindir", "onnx")}


@pytest.mark.parametrize("ending", ["mindir", "onnx"])
def test_exported_files_are_run(doubling, ending):
    images = np.arange(6, dtype=np.float32).reshape(2, 3)
    run = onnx_runner(doubling["onnx"]).run if ending == "onnx" else mindir_runner(doubling["mindir"])
    for _ in range(2):
        outputs = run(images)
        assert [output.tolist() for output in outputs] == [(images * 2).tolist(), (images + 1).tolist()]


@pytest.mark.parametrize("ending", ["mindir", "onnx"])
def test_what_a_library_raises_while_it_runs_a_file_names_the_file(doubling, ending):
    run = onnx_runner(doubling["onnx"]).run if ending == "onnx" else mindir_runner(doubling["mindir"])
    with pytest.raises(CheckpointError, match=f"double.{ending} cannot be run by .*: .*copy it again"):
        run(*[np.zeros((3, 4), np.float32)] * (2 if ending == "mindir" else 1))


def test_an_onnx_file_says_the_shapes_of_its_inputs(doubling):
    assert onnx_runner(doubling["onnx"]).input_shapes == [(2, 3)]


def test_openvino_runs_an_onnx_file_and_its_own_form(doubling, tmp_path):
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(doubling["onnx"]), tmp_path / "double.xml", compress_to_fp16=False)
    images = np.arange(6, dtype=np.float32).reshape(2, 3)
    for path in (doubling["onnx"], tmp_path / "double.xml"):
        run, shapes = openvino_runner(path)
        assert shapes == [(2, 3)]
        first = run(images)
        run(images + 1)
        assert [output.tolist() for output in first] == [(images * 2).tolist(), (images + 1).tolist()]


def test_the_engines_start_as_many_threads_as_are_given(doubling, monkeypatch):
    openvino, given = pytest.importorskip("openvino"), []
    session, compile_model = onnxruntime.InferenceSession, openvino.Core.compile_model
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path, options, **others: given.append(
        options.intra_op_num_threads) or session(path, options, **others))
    monkeypatch.setattr(openvino.Core, "compile_model", lambda core, path, device, settings: given.append(
        settings.get("INFERENCE_NUM_THREADS")) or compile_model(core, path, device, settings))
    for threads in (None, 1):
        onnx_runner(doubling["onnx"], threads=threads)
        openvino_runner(doubling["onnx"], threads=threads)
    assert given == [0, None, 1, 1]


def test_openvino_leaves_an_open_side_open(tmp_path):
    pytest.importorskip("openvino")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), tmp_path / "a.onnx")
    assert openvino_runner(tmp_path / "a.onnx").input_shapes == [(None, 3)]


@pytest.mark.parametrize("content", [b"", b"plain text", b"\0" * 500])
@pytest.mark.parametrize("name", ["a.onnx", "a.xml"])
def test_a_file_that_openvino_does_not_read_is_refused(tmp_path, name, content):
    pytest.importorskip("openvino")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name} cannot be loaded by OpenVINO: "):
        openvino_runner(tmp_path / name)


def test_bf16_is_refused_where_openvino_would_silently_compute_in_float32(doubling, monkeypatch):
    openvino = pytest.importorskip("openvino")
    said = {"OPTIMIZATION_CAPABILITIES": ["FP32"], "FULL_DEVICE_NAME": "Old CPU "}
    monkeypatch.setattr(openvino.Core, "get_property", lambda _core, _device, name: said[name])
    with pytest.raises(UsageError, match=r"this processor \(Old CPU\) does not compute in bf16"):
        openvino_runner(doubling["onnx"], "bf16")


def test_bf16_is_used_where_the_processor_has_it(doubling):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bf16")
    images = np.full((2, 3), 1.01, np.float32)
    np.testing.assert_allclose(openvino_runner(doubling["onnx"], "bf16").run(images)[0], 2.02, rtol=0.01)


def test_without_openvino_the_message_says_how_to_install_it(doubling, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match="double.onnx needs OpenVINO to run, .*pip install openvino"):
        openvino_runner(doubling["onnx"])


def test_an_onnx_file_of_half_precision_is_named(tmp_path):
    half = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, (1, 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", half[:1], half[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7), tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="a.onnx takes float16 images, .* export it in float32"):
        onnx_runner(tmp_path / "a.onnx")


@pytest.mark.parametrize("device", ["GPU", "Ascend"])
def test_onnx_on_a_device_that_onnxruntime_does_not_have_is_refused(doubling, device, monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match=f"cannot run .*double.onnx on a {device} .*--device_target CPU"):
        onnx_runner(doubling["onnx"], device)


@pytest.mark.parametrize("ending", ["mindir", "onnx"])
@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_a_torn_file_is_refused(doubling, tmp_path, ending, part):
    torn = tmp_path / f"torn.{ending}"
    content = doubling[ending].read_bytes()
    torn.write_bytes(content[:int(part * len(content))])
    with pytest.raises(CheckpointError, match="torn"):
        (onnx_runner if ending == "onnx" else mindir_runner)(torn)
