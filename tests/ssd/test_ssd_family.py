"""What all SSDs do besides giving the zoo's numbers: settings of their own, the start from ImageNet."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor
from ssd_family import detector_of

from src.checkpoint import read_weights, save_weights
from src.engine.start_weights import load_backbone, require_start_files
from src.errors import CheckpointError, ConfigError, UsageError
from src.models import MODELS
from src.ssd.priors import feature_sizes

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.family == "ssd"])
def test_all_classes_start_with_the_chosen_score(name):
    detector = detector_of(name, "--initial_score", "0.01")
    for layer in detector.network().class_predictors.output_layers:
        np.testing.assert_allclose(1 / (1 + np.exp(-layer.bias.asnumpy())), 0.01, rtol=1e-5)


def test_he_weights_keep_the_variance_of_the_maps():
    """The zoo's weights give a depthwise convolution a variance of 0.001, as small as the epsilon of its norm."""
    for name, low, high in (("zoo", 0, 0.003), ("he", 0.3, 3)):
        network = detector_of("ssd300", "--initial_weights", name).network()
        layer = network.backbone.stage16[3].depthwise.conv
        maps = layer(Tensor(np.maximum(np.random.default_rng(0).standard_normal((2, 144, 9, 9)), 0).astype(np.float32)))
        assert low < maps.asnumpy().var() < high
        assert network.box_predictors.output_layers[0].weight.asnumpy().std() < 0.022


def test_a_shared_predictor_needs_equal_levels():
    with pytest.raises(ConfigError, match="share one predictor"):
        detector_of("ssd_mobilenet_v1_fpn", "--use_anchor_generator", "false", "--num_default", "3,6,6,6,6",
                    "--aspect_ratios", "[[],[2,3],[2,3],[2,3],[2,3]]")


def test_the_channels_of_the_backbone_cannot_be_chosen():
    with pytest.raises(ConfigError, match=r"extras_out_channels .* have \[512, 1024\] channels"):
        detector_of("ssd_mobilenet_v1", "--extras_out_channels", "500,1024,512,256,256,128")


def test_strides_of_the_further_maps_are_those_of_the_layers():
    detector = detector_of("ssd_mobilenet_v1", "--extras_strides", "1,1,1,2,1,3")
    maps = [Tensor(np.zeros((1, channels, *size), np.float32)) for channels, size in zip(
        detector.config.model.extras_out_channels, feature_sizes(detector.config.model))]
    extras = detector.network().extras
    assert [extra(before).shape for extra, before in zip(extras, maps[1:])] == [after.shape for after in maps[2:]]


def test_relu_behind_block_5_of_vgg16_is_a_setting():
    images = Tensor(np.random.default_rng(0).standard_normal((1, 3, 300, 300)).astype(np.float32))
    for relu in (False, True):
        network = detector_of("ssd_vgg16", "--vgg_extra_relu", str(relu)).network().set_train(False)
        x = network.extras[0](network.backbone(images)[1]).asnumpy()
        assert x.shape == (1, 512, 10, 10) and (x < 0).any() != relu


def test_dropout_of_vgg16_comes_with_the_sample_and_depends_on_nothing_but_its_random_numbers():
    detector = detector_of("ssd_vgg16", "--img_shape", "280,300")
    image = np.zeros((40, 60, 3), np.uint8)
    target = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "crowd": np.zeros(0, bool)}
    first, again, other = (detector.train_transform()(image, target, np.random.default_rng(seed))["dropout"]
                           for seed in (1, 1, 2))
    assert detector.batch_columns == ("image", "deltas", "classes", "dropout")
    assert first.shape == (2, 1024, 18, 19) and set(np.unique(first)) == {0, 2}
    assert abs(first.mean() - 1) < 0.01
    assert (first == again).all() and (first != other).mean() > 0.4


# The start from ImageNet

def imagenet_file(folder: Path, detector, network, **changed: np.ndarray) -> Path:
    """A file with the keys that the zoo's feature_extractor_base_param has, a classifier, and 0.5 everywhere."""
    name = detector.config.model.model_name
    about = json.loads((GOLDEN / name / "params.json").read_text(encoding="utf-8"))["backbone_pretrained"]
    keys = list(about["key_map"]) if "key_map" in about else about["keys"]
    shapes = {parameter.name: parameter.shape for parameter in network.get_parameters()}
    arrays = {key: np.full(shapes.get(detector.from_imagenet(key), (1000,)), 0.5, np.float32) for key in keys}
    arrays = {**arrays, "fc.weight": np.zeros((1000, 8), np.float32), **changed}
    path = folder / f"{name}_imagenet.ckpt"
    save_weights(path, {key: Tensor(array) for key, array in arrays.items()}, "classifier", [])
    return path


@pytest.mark.parametrize("name, elsewhere", [
    ("ssd_mobilenet_v1", []), ("ssd_mobilenet_v1_fpn", []), ("ssd_resnet50_fpn", []),
    ("ssd_vgg16", ["backbone.fc6.conv.weight", "backbone.fc7.conv.weight"]),
])
def test_an_imagenet_checkpoint_fills_the_body(name, elsewhere, tmp_path):
    detector = detector_of(name)
    network = detector.network()
    load_backbone(network, detector, read_weights(imagenet_file(tmp_path, detector, network)))
    for parameter in network.get_parameters():
        loaded = (parameter.asnumpy() == 0.5).all()
        assert loaded == (parameter.name.startswith("backbone.") and parameter.name not in elsewhere), parameter.name


@pytest.mark.parametrize("key, size, words", [
    ("network.0.1.gamma", 31, r"backbone.stem.norm.gamma: file \(31,\), network \(32,\)"),
    ("network.99.weight", 3, "unknown to the network: network.99.weight"),
])
def test_a_checkpoint_that_does_not_fit_is_refused(key, size, words, tmp_path):
    detector = detector_of("ssd_mobilenet_v1")
    network = detector.network()
    path = imagenet_file(tmp_path, detector, network, **{key: np.zeros(size, np.float32)})
    with pytest.raises(CheckpointError, match=words):
        load_backbone(network, detector, read_weights(path))


def test_a_file_of_another_body_is_refused_with_both_lists_and_the_way_around_it(tmp_path):
    mobilenet, vgg = detector_of("ssd_mobilenet_v1"), detector_of("ssd_vgg16")
    path = imagenet_file(tmp_path, mobilenet, mobilenet.network())
    with pytest.raises(CheckpointError) as refused:
        load_backbone(vgg.network(), vgg, read_weights(path))
    assert "missing in the file: backbone.blocks.0.0.conv.weight;" in str(refused.value)
    assert "unknown to the network: network.0.0.weight;" in str(refused.value)
    assert "--feature_extractor_base_param none" in str(refused.value)


def test_a_missing_backbone_file_is_named_with_the_way_around_it():
    words = "/ckpt/mobilenet_v1.ckpt, .* does not exist; .* --feature_extractor_base_param none"
    with pytest.raises(UsageError, match=words):
        require_start_files(detector_of("ssd_mobilenet_v1_fpn").config)


@pytest.mark.parametrize("flags", [["--feature_extractor_base_param", "none"], ["--pre_trained", __file__],
                                   ["--resume"]])
def test_a_training_that_does_not_start_from_imagenet_needs_no_backbone_file(flags):
    assert require_start_files(detector_of("ssd_mobilenet_v1_fpn", *flags).config) is None


def test_a_backbone_file_with_other_norms_is_refused(tmp_path):
    normed, plain = detector_of("ssd_vgg16", "--ssd_vgg_bn", "true"), detector_of("ssd_vgg16")
    with pytest.raises(CheckpointError, match="does not fit the network"):
        load_backbone(plain.network(), plain, read_weights(imagenet_file(tmp_path, normed, normed.network())))
