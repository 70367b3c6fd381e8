"""Backbones with weights of torchvision, timm and MindCV give the same features as there."""
from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from src.checkpoint import Weights, read_weights, save_weights
from src.command_line import load_config
from src.conversion.backbones import backbone_namings
from src.conversion.coco_classes import COCO_CLASSES
from src.conversion.convert import choose_naming, convert
from src.conversion.naming import zoo_namings
from src.engine.start_weights import load_backbone
from src.errors import CheckpointError, ConfigError
from src.models import build_detector

torch = pytest.importorskip("torch")

PYTORCH = ("--backbone_style", "pytorch")
RESNET_STAGES = ("layer1", "layer2", "layer3", "layer4")


def make(library: str, name: str):
    """A network of torchvision or timm with random weights, ready to infer.

    Its norms see small variances, so that their epsilon matters, and hold the statistics of some noise.
    """
    torch.manual_seed(0)
    if library == "timm":
        module = pytest.importorskip("timm").create_model(name)
    else:
        module = getattr(pytest.importorskip("torchvision").models, name)(weights=None)
    norms = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.5, 1.0)
        norm.bias.data.normal_(0, 0.2)
        norm.momentum = 1.0
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data.mul_(0.03 if norms else 1)
            if layer.bias is not None:
                layer.bias.data.normal_(0, 0.2)
    with torch.no_grad():
        module.train()(torch.randn(2, 3, 64, 64))
    return module.eval()


def features(module, layers, images: np.ndarray) -> list:
    """Outputs of the named layers."""
    found, named = {}, dict(module.named_modules())
    hooks = [named[name].register_forward_hook(lambda _layer, _inputs, output, name=name: found.update({name: output}))
             for name in layers]
    with torch.no_grad():
        module(torch.from_numpy(images))
    for hook in hooks:
        hook.remove()
    return [found[name].numpy() for name in layers]


def converted(model: str, module, *flags: str) -> tuple:
    """(detector, its network with the body of `module`, or of such arrays, and the Conversion)"""
    flags = (*flags, "--feature_extractor_base_param", "none")
    detector = build_detector(load_config(["--model_name", model, *flags], "convert"), COCO_CLASSES[:2])
    network = detector.network().set_train(False)
    parameters = network.parameters_dict()
    arrays = module if isinstance(module, dict) else arrays_of(module)
    weights = Weights(arrays, Path("body.pth"))
    naming = choose_naming(weights, zoo_namings(detector) + backbone_namings(detector, network), parameters, None)
    conversion = convert(weights, naming, {name: tuple(value.shape) for name, value in parameters.items()})
    for name, array in conversion.arrays.items():
        parameters[name].set_data(Tensor(array))
    return detector, network, conversion


def arrays_of(module) -> dict:
    """The parameters of a network of PyTorch or MindSpore, by their names there."""
    if isinstance(module, ms.nn.Cell):
        return {name: parameter.asnumpy() for name, parameter in module.parameters_dict().items()}
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


CASES = [
    ("ssd300", "torchvision", "mobilenet_v2", PYTORCH, {"features.18": 1}),
    ("ssd300", "timm", "mobilenetv2_100", PYTORCH, {"bn2": 1}),
    ("ssd_mobilenet_v1", "timm", "mobilenetv1_100", PYTORCH, {"blocks.3.1": 0, "blocks.4.1": 1}),
    ("ssd_mobilenet_v1_fpn", "timm", "mobilenetv1_100", PYTORCH, {"blocks.2.1": 0, "blocks.3.5": 1, "blocks.4.1": 2}),
    ("ssd_resnet50_fpn", "torchvision", "resnet50", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
    ("ssd_vgg16", "torchvision", "vgg16", (*PYTORCH, "--vgg_bias", "true"), {"features.22": 0}),
    ("ssd_vgg16", "torchvision", "vgg16_bn", (*PYTORCH, "--ssd_vgg_bn", "true"), {"features.32": 0}),
    ("ssd_vgg16", "timm", "vgg16_bn", (*PYTORCH, "--ssd_vgg_bn", "true"), {"features.32": 0}),
    ("faster_rcnn_resnet50", "torchvision", "resnet50", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
    ("faster_rcnn_res2net50", "timm", "res2net50d", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
    ("faster_rcnn_res2net101", "timm", "res2net101d", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
    ("centernet_resnet50", "torchvision", "resnet50", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
    ("centernet_resnet101", "torchvision", "resnet101", PYTORCH, dict(zip(RESNET_STAGES, range(4)))),
]


@pytest.mark.parametrize("model, library, name, flags, maps", CASES,
                         ids=["-".join((case[1], case[2], case[0])) for case in CASES])
def test_features_are_those_of_pytorch(model, library, name, flags, maps):
    module = make(library, name)
    _, network, conversion = converted(model, module, *flags)
    assert (conversion.naming.source, conversion.conditions["backbone_style"]) == (library, "pytorch")
    images = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    wanted = features(module, maps, images)
    bgr = model.startswith("centernet")
    ours = ms.jit(network.backbone)(Tensor(np.ascontiguousarray(images[:, ::-1]) if bgr else images))
    for want, index in zip(wanted, maps.values()):
        have = ours[index].asnumpy()
        assert want.std() > 1e-2
        assert np.abs(have - want).max() < 1e-3 * np.abs(want).max()


def make_mindcv(name: str):
    """A network of MindCV with random weights and statistics, ready to infer; each layer keeps the size of numbers."""
    module = getattr(pytest.importorskip("mindcv").models, name)().set_train(False)
    rng = np.random.default_rng(0)
    for parameter in module.get_parameters():
        word, shape = parameter.name.rpartition(".")[2], parameter.shape
        values = {"gamma": rng.uniform(0.3, 0.6, shape), "beta": rng.normal(0, 0.2, shape),
                  "moving_mean": rng.normal(0, 0.2, shape), "moving_variance": rng.uniform(0.005, 0.02, shape)}
        weight = rng.normal(0, 0.1 / np.sqrt(max(1, np.prod(shape[1:]))), shape)
        parameter.set_data(Tensor(values.get(word, weight).astype(np.float32)))
    return module


def stages(module, images) -> list:
    """C2 to C5 of a ResNet or Res2Net of MindCV."""
    maps = [module.max_pool(module.relu(module.bn1(module.conv1(images))))]
    for stage in (module.layer1, module.layer2, module.layer3, module.layer4):
        maps.append(stage(maps[-1]))
    return maps[1:]


MINDCV = ("--backbone_style", "mindcv")
MINDCV_CASES = [
    ("ssd_resnet50_fpn", "resnet50", MINDCV, stages),
    ("faster_rcnn_resnet50", "resnet50", MINDCV, stages),
    ("centernet_resnet50", "resnet50", MINDCV, stages),
    ("faster_rcnn_res2net50", "res2net50_v1b", PYTORCH, stages),
    ("ssd300", "mobilenet_v2_100", PYTORCH, lambda module, images: [None, module.forward_features(images)]),
]


@pytest.mark.parametrize("model, name, flags, maps", MINDCV_CASES, ids=["-".join(case[:2]) for case in MINDCV_CASES])
def test_features_are_those_of_mindcv(model, name, flags, maps):
    module = make_mindcv(name)
    _, network, conversion = converted(model, module, *flags)
    assert (conversion.naming.source, conversion.conditions["backbone_style"]) == ("mindcv", flags[1])
    images = np.random.default_rng(0).standard_normal((1, 3, 96, 64)).astype(np.float32)
    bgr = model.startswith("centernet")
    ours = ms.jit(network.backbone)(Tensor(np.ascontiguousarray(images[:, ::-1]) if bgr else images))
    for want, have in zip(maps(module, Tensor(images)), ours):
        if want is not None:
            assert want.asnumpy().std() > 1e-2
            assert np.abs((have - want).asnumpy()).max() < 1e-3 * np.abs(want.asnumpy()).max()


@pytest.fixture(scope="module")
def mobilenet():
    return make("torchvision", "mobilenet_v2")


def test_what_is_left_out_is_said_with_its_reason(mobilenet):
    _, network, conversion = converted("ssd300", mobilenet)
    assert (conversion.naming.source, conversion.naming.content) == ("torchvision", "backbone")
    reasons = {name.split(".")[-1]: reason for name, reason in conversion.ignored.items()}
    assert reasons == {"weight": "the classifier of ImageNet", "bias": "the classifier of ImageNet",
                       "num_batches_tracked": "PyTorch's count of batches"}
    kept = {name for name in conversion.missing if name.startswith("backbone.")}
    assert kept == {name for name in network.parameters_dict() if name.startswith("backbone.expand16.")}


def test_a_vgg16_with_biases_is_refused_where_there_is_no_place_for_them():
    with pytest.raises(CheckpointError, match=r"features.\d+.bias: .* add --vgg_bias True"):
        converted("ssd_vgg16", make("torchvision", "vgg16"))


def test_a_body_of_another_depth_is_refused(mobilenet):
    with pytest.raises(CheckpointError, match="missing in the file: backbone.stages.2.6.reduce.conv.weight"):
        converted("centernet_resnet101", make("torchvision", "resnet50"))
    with pytest.raises(CheckpointError, match="are unknown. Tried: zoo"):
        converted("ssd_resnet50_fpn", mobilenet)


# A converted file in training

def body_file(folder: Path, mobilenet) -> Path:
    _, _, conversion = converted("ssd300", mobilenet)
    path = folder / "body.ckpt"
    save_weights(path, {name: Tensor(array) for name, array in conversion.arrays.items()}, "ssd300", ["a"],
                 conversion.conditions)
    return path


def started(path: Path, model: str, *flags: str):
    detector = build_detector(load_config(["--model_name", model, *flags], "train"), ["a"])
    network = detector.network()
    load_backbone(network, detector, read_weights(path))
    return network.parameters_dict()


def test_training_starts_from_the_converted_body(tmp_path, mobilenet):
    found = started(body_file(tmp_path, mobilenet), "ssd300", *PYTORCH)
    np.testing.assert_array_equal(found["backbone.stem.conv.weight"].asnumpy(),
                                  mobilenet.state_dict()["features.0.0.weight"].numpy())


@pytest.mark.parametrize("flags, words", [
    ((), "backbone_style: pytorch, .*ssd300_mobilenet_v2.yaml:[0-9]+ has zoo\\n.* --backbone_style pytorch; or"),
    ((*PYTORCH, "--mean", "0.5,0.5,0.5"), "mean: 0.485,0.456,0.406, flag --mean has 0.5,0.5,0.5\\n"),
])
def test_training_with_other_settings_is_refused(tmp_path, mobilenet, flags, words):
    with pytest.raises(ConfigError, match=words):
        started(body_file(tmp_path, mobilenet), "ssd300", *flags)


def test_a_body_scaled_for_another_epsilon_is_refused(tmp_path):
    _, _, conversion = converted("centernet_resnet50", make("torchvision", "resnet50"))
    path = tmp_path / "body.ckpt"
    conditions = {**conversion.conditions, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    save_weights(path, {name: Tensor(array) for name, array in conversion.arrays.items()}, "x", ["a"], conditions)
    with pytest.raises(ConfigError, match=r"norm_eps: 1e-05, ssd_resnet50_fpn has 0.001\n.*convert .* again"):
        started(path, "ssd_resnet50_fpn", *PYTORCH, "--feature_extractor_base_param", "none")


# What looks alike and is not

@pytest.mark.parametrize("names, model, words", [
    (("conv1.weight", "bn1.weight", "layer1.0.convs.0.weight", "layer1.0.downsample.0.weight"), "faster_rcnn_res2net50",
     "it is a Res2Net whose stem is one 7x7 convolution .* take timm's res2net50d"),
    (("conv1.weight", "bn1.gamma", "layer1.0.convs.0.weight", "layer1.0.down_sample.0.weight"),
     "faster_rcnn_res2net101", "or MindCV's res2net50_v1b or res2net101_v1b"),
    (("features.0.weight", "features.1.gamma", "features.3.0.weight", "features.15.3.weight"), "ssd_mobilenet_v1",
     "MindCV's MobileNetV1 has ReLU where the network here has ReLU6"),
])
def test_a_network_that_only_looks_alike_is_refused_with_the_reason(names, model, words):
    with pytest.raises(CheckpointError, match=f"body.pth does not fit the network: .*{words}"):
        converted(model, {name: np.zeros(3, np.float32) for name in names})


def test_batch_norms_that_are_folded_away_are_missed_by_name(mobilenet):
    arrays = {name: tensor.numpy() for name, tensor in mobilenet.state_dict().items() if ".1.running" not in name}
    with pytest.raises(CheckpointError, match=r"missing in the file: backbone.stem.norm.moving_mean \(32,\)"):
        converted("ssd300", arrays)


def test_the_vgg16_that_torchvision_s_ssd_starts_from_has_an_input_of_its_own():
    module = make("torchvision", "vgg16")
    flags = (*PYTORCH, "--vgg_bias", "true")
    *_, usual = converted("ssd_vgg16", module, *flags)
    for parameter in module.classifier.parameters():
        parameter.data.fill_(np.nan)
    *_, features = converted("ssd_vgg16", module, *flags)
    assert (usual.conditions["mean"], usual.conditions["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (features.conditions["mean"], features.conditions["std"]) == ([0.48235, 0.45882, 0.40784], [1 / 255] * 3)
