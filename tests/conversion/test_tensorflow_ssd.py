"""TensorFlow's ssdlite_mobilenet_v2 -> ssd300: drawn weights everywhere, the published ones where they are."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_drawn import constant, drawn_weights, field, folded, graph_file, tfjs_folder, varint

from convert_checkpoint import find_target
from src.checkpoint import Weights
from src.command_line import load_config
from src.conditions import check_conditions
from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.convert import choose_naming, convert
from src.conversion.detectors import detector_namings
from src.conversion.files import existing_file, read_any_weights
from src.conversion.naming import zoo_namings
from src.errors import CheckpointError, ConfigError, ProjectError, UsageError
from src.models import MODELS, build_detector

CONFIG = Path(__file__).resolve().parents[2] / "config" / "ssd" / "ssd300_mobilenet_v2_tensorflow.yaml"
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "weights" / "ssdlite_mobilenet_v2_coco"


def converted(weights: Weights, classes=COCO_CLASSES, *flags: str) -> tuple:
    """(detector, its network, the Conversion)"""
    detector = build_detector(load_config(["--config_path", str(CONFIG), *flags], "convert"), classes)
    network = detector.network().set_train(False)
    shapes = {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}
    naming = choose_naming(weights, zoo_namings(detector) + detector_namings(detector, network), shapes, None)
    return detector, network, convert(weights, naming, shapes, len(classes))


@pytest.fixture(scope="module")
def arrays() -> dict:
    return drawn_weights()


@pytest.fixture(scope="module")
def unfolded(arrays, tmp_path_factory):
    return converted(read_any_weights(graph_file(tmp_path_factory.mktemp("graph") / "frozen.pb", arrays)))


def test_a_frozen_graph_fills_every_parameter(arrays, unfolded):
    _, network, conversion = unfolded
    assert not conversion.missing and set(conversion.arrays) == {item.name for item in network.get_parameters()}
    assert conversion.ignored == {"Preprocessor/mul/x": "a constant of the graph, not a weight"}
    assert set(conversion.taken.values()) == set(arrays) - set(conversion.ignored)


def test_weights_are_turned_to_output_channels_first(arrays, unfolded):
    ours = unfolded[2].arrays
    stem = arrays["FeatureExtractor/MobilenetV2/Conv/weights"]
    assert ours["backbone.stem.conv.weight"][5, 1, 2, 0] == stem[2, 0, 1, 5]
    depthwise = arrays["FeatureExtractor/MobilenetV2/expanded_conv_13/depthwise/depthwise_weights"]
    assert ours["backbone.stage32.0.depthwise.conv.weight"][7, 0, 2, 1] == depthwise[2, 1, 7, 0]
    np.testing.assert_array_equal(ours["box_predictors.2.pointwise.bias"],
                                  arrays["BoxPredictor_2/BoxEncodingPredictor/biases"])


def test_the_layer_that_the_first_map_comes_from_is_two_of_ours(unfolded):
    ours = unfolded[2].arrays
    for word in ("conv.weight", "norm.gamma", "norm.moving_mean"):
        np.testing.assert_array_equal(ours[f"backbone.expand16.{word}"], ours[f"backbone.stage32.0.expand.{word}"])


def test_of_the_outputs_for_90_ids_those_of_the_classes_are_taken(arrays, unfolded):
    theirs = arrays["BoxPredictor_1/ClassPredictor/biases"].reshape(6, 91)
    all_80 = unfolded[2].arrays["class_predictors.1.pointwise.bias"].reshape(6, 81)
    assert (all_80[:, 0] == theirs[:, 0]).all()  # background
    assert (all_80[:, 12] == theirs[:, 13]).all()  # stop sign has the id 13: 12 belongs to no class
    assert (all_80[:, 80] == theirs[:, 90]).all()  # toothbrush
    *_, conversion = converted(Weights(arrays, Path("frozen.pb")), ("dog", "person"))
    two = conversion.arrays["class_predictors.1.pointwise.bias"].reshape(6, 3)
    assert (two == theirs[:, [0, 18, 1]]).all()


def test_a_detector_of_other_classes_keeps_its_outputs_and_a_wrong_number_is_explained():
    arrays = drawn_weights(outputs=3)
    *_, conversion = converted(Weights(arrays, Path("frozen.pb")), ("helmet", "vest"))
    np.testing.assert_array_equal(conversion.arrays["class_predictors.0.pointwise.bias"],
                                  arrays["BoxPredictor_0/ClassPredictor/biases"])
    with pytest.raises(CheckpointError, match="The file has 2 classes, the network 80: name those of the file with"):
        converted(Weights(arrays, Path("frozen.pb")))


def test_folded_norms_give_the_same_factors_and_shifts(arrays, unfolded, tmp_path):
    tfjs_folder(tmp_path / "web", folded(arrays))
    *_, conversion = converted(read_any_weights(existing_file(tmp_path / "web")))
    assert not conversion.missing
    for norm in (name[:-6] for name in conversion.arrays if name.endswith(".gamma")):
        layer = next(f"{norm[:-5]}.{conv}.weight" for conv in ("conv", "depthwise")
                     if f"{norm[:-5]}.{conv}.weight" in conversion.arrays)
        for have, want in zip(factor_and_shift(conversion.arrays, layer, norm),
                              factor_and_shift(unfolded[2].arrays, layer, norm)):
            np.testing.assert_allclose(have, want, rtol=1e-4, atol=1e-5, err_msg=norm)


def factor_and_shift(arrays: dict, layer: str, norm: str) -> tuple:
    """Of a convolution and its norm: the weights times what the norm multiplies by, and what it adds."""
    gamma, beta, mean, variance = (arrays[f"{norm}.{word}"] for word in
                                   ("gamma", "beta", "moving_mean", "moving_variance"))
    factor = gamma / np.sqrt(variance + 1e-3)
    return arrays[layer] * factor[:, None, None, None], beta - mean * factor


def test_the_checkpoint_asks_for_tensorflow_s_input_and_priors(unfolded):
    detector, network, conversion = unfolded
    weights = Weights(conversion.arrays, Path("a.ckpt"), conditions=conversion.conditions)
    check_conditions(weights, network, detector)
    zoo = build_detector(load_config(["--model_name", "ssd300"], "eval"), COCO_CLASSES)
    with pytest.raises(ConfigError, match="with --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --steps 15.7894736842105"):
        check_conditions(weights, network, zoo)


def test_without_a_configuration_the_settings_are_those_of_the_library(arrays):
    target = find_target(Weights(arrays, Path("frozen.pb")), {"model_name": "ssd300", "min_score": "0.2"}, None)
    settings_file = build_detector(load_config(["--config_path", str(CONFIG)], "convert"), COCO_CLASSES)
    assert target.naming.source == "tensorflow" and target.detector.conditions() == settings_file.conditions()
    assert target.detector.config.eval.min_score == 0.2
    assert target.settings_file is None, "nothing to advise: its settings are taken"
    other = find_target(Weights(arrays, Path("frozen.pb")), {"config_path": str(MODELS["ssd300"].config_path)}, None)
    assert other.settings_file == CONFIG


# Files that are damaged or want to do harm

SMALL = {"a/weights": np.arange(6, dtype=np.float32).reshape(2, 3), "b/biases": np.ones(2, np.float32)}


def test_numbers_of_all_floating_types_and_one_for_many_are_read(tmp_path):
    half = np.arange(2, dtype=np.float16)
    tensor = b"\x08\x13" + field(2, field(2, b"\x08\x02")) + field(4, half.tobytes())
    floats = b"\x08\x01" + field(2, field(2, b"\x08\x02")) + field(5, np.float32([3, 4]).tobytes())
    nodes = [field(1, field(1, name) + field(2, b"Const") + field(5, field(1, b"value") + field(2, field(8, content))))
             for name, content in ((b"half", tensor), (b"floats", floats))]
    path = tmp_path / "a.pb"
    path.write_bytes(b"".join(nodes) + constant("many", np.float32([7]), (2, 2)) + field(1, field(2, b"Const")))
    read = read_any_weights(path).arrays
    assert {name: array.tolist() for name, array in read.items()} == {
        "half": [0, 1], "floats": [3, 4], "many": [[7, 7], [7, 7]]}


@pytest.mark.parametrize("content, words", [
    (b"", "holds no weights"),
    (b"\x08\x01" + field(2, b""), "is a SavedModel, which keeps its weights in another file; give a frozen graph"),
    (varint(1 << 3 | 2) + varint(10 ** 15) + b"abc", "a field of 1000000000000000 bytes, where 3 are left"),
    (b"\x0b", "a field is of the kind 3"),
    (b"\xff" * 20, "an integer does not end"),
    (constant("a", np.ones(6), (2, 4)), r"a has 6 numbers for the shape \(2, 4\)"),
    (constant("a", np.ones(1), (10 ** 6, 10 ** 6)), "one number for the shape"),
    (constant("a", np.ones(6), (2 ** 64 - 1, 6)), "a shape has the side 18446744073709551615"),
    (constant("a", np.ones(6)) * 2, "a is there twice"),
])
def test_a_graph_that_is_damaged_or_hostile_is_refused(tmp_path, content, words):
    path = tmp_path / "a.pb"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"a.pb .*{words}"):
        read_any_weights(path)


@pytest.mark.parametrize("changes, words", [
    ({"paths": ["../web/group1-shard1of2", "group1-shard2of2"]}, "shard '../web/group1-shard1of2' is not beside it"),
    ({"paths": ["group1-shard1of2"] * 2}, "names a shard twice"),
    ({"paths": ["group1-shard1of2"]}, r"b/biases \(2,\) does not fit|weights .* does not fit"),
    ({"paths": ["none"]}, "No such file"),
    ({"paths": 7}, "not iterable"),
    ({"weights": [{"name": "a", "shape": [2], "dtype": "float32"}]}, "its shards have 32 bytes, its weights 8"),
    ({"weights": [{"name": "a", "shape": [-8], "dtype": "float32"}]}, "a has no shape"),
    ({"weights": [{"name": "a", "shape": [8], "dtype": "string"}]}, "it has no 'string'"),
    ({"weights": [{"name": "a", "shape": [4], "dtype": "float32"}] * 2}, "a is there twice"),
    ({"weights": [{"name": "a", "shape": [8], "dtype": "float32", "quantization": {}}]}, "a is quantised"),
])
def test_a_tensorflow_js_model_that_is_damaged_or_hostile_is_refused(tmp_path, changes, words):
    path = tfjs_folder(tmp_path / "web", SMALL, **changes)
    with pytest.raises(CheckpointError, match=f"model.json cannot be read as a model of TensorFlow.js: .*({words})"):
        read_any_weights(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weightsManifest": 1}', "[" * 100_000])
def test_another_json_is_no_model(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CheckpointError, match="a.json cannot be read as a model of TensorFlow.js"):
        read_any_weights(tmp_path / "a.json")


def test_a_folder_without_a_model_is_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="model.json does not exist; give one of these with --ckpt_file"):
        existing_file(tmp_path)


@pytest.mark.parametrize("kind", ["graph", "tfjs"])
@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_files_end_in_the_project_s_errors(tmp_path, kind, data):
    path = graph_file(tmp_path / "a.pb", SMALL) if kind == "graph" else tfjs_folder(tmp_path / "web", SMALL)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    start, length = data.draw(st.integers(0, len(content))), data.draw(st.sampled_from([0, 0, 1, 9, len(content)]))
    path.write_bytes(content[:start] + content[start + length:])
    try:
        for array in read_any_weights(path).arrays.values():
            assert isinstance(array, np.ndarray)
    except ProjectError as error:
        assert str(path) in str(error)


# The published weights

def test_the_published_weights_give_tensorflow_s_outputs():
    if not PUBLISHED.is_dir():
        pytest.skip("needs ../shared/weights/ssdlite_mobilenet_v2_coco")
    import mindspore as ms

    _, network, conversion = converted(read_any_weights(existing_file(PUBLISHED)))
    for name, parameter in network.parameters_dict().items():
        parameter.set_data(ms.Tensor(np.ascontiguousarray(conversion.arrays[name])))
    run = ms.jit(network)
    for path in sorted(PUBLISHED.glob("tf_raw_*.npz")):
        with np.load(path) as theirs:
            images = (theirs["resized"].astype(np.float32) - 127.5) / 127.5
            deltas, logits = (output.asnumpy()[0] for output in
                              run(ms.Tensor(np.ascontiguousarray(images.transpose(2, 0, 1)[None]))))
            assert np.abs(deltas - theirs["deltas"]).max() < 1e-4
            used = np.delete(theirs["logits"], (12, 26, 29, 30, 45, 66, 68, 69, 71, 83), axis=1)
            assert np.abs(logits - used).max() < 1e-4
