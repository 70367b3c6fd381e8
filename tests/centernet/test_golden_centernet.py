"""CenterNet with the plain up-sampling gives the numbers of the old zoo (tests/golden/centernet_*).

Tolerances: 1e-3 of a feature map's standard deviation, 2e-3 of a loss. With the kernels the numbers were measured with,
maps differ by up to 1e-5 of their standard deviation.
"""
from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
import recipe
from centernet_family import (
    PLAIN,
    Draws,
    SeededLikeTheZoo,
    as_sample,
    detector_of,
    heatmap,
    network_of_the_recipe,
    training_batch,
    truth,
)
from golden import Golden, sample_error, sampled_names, spread, stats_error
from mindspore import Parameter, Tensor

from src.centernet.decode import decode
from src.centernet.loss import CenterNetLoss, heatmap_loss
from src.centernet.network import CenterNetInference
from src.centernet.targets import TargetEncoder, draw_gaussian, gaussian_radius
from src.centernet.transforms import COLOR_CHANGE, adjust_color
from src.engine.optimizer import NORMS_AND_BIASES, build_optimizer, parameter_groups
from src.engine.train_step import TrainStep
from src.ops.normalize import NormalizeImages

pytestmark = pytest.mark.usefixtures("pynative")

MODELS = {"centernet_resnet50": 292, "centernet_resnet101": 547}  # parameters
FIRST = Golden("centernet_resnet50")  # what does not depend on the depth is stored once
PICTURE_SIZE = (480, 640)
# A grey level, in units of the normalised input; OpenCV's versions round a warp differently.
ONE_GREY_LEVEL = 1 / (255 * 0.274)


def rgb(height: int, width: int) -> np.ndarray:
    """The golden picture, whose channels the zoo took for blue, green, red, as our reader would give it."""
    return recipe.image(height, width, 1)[:, :, ::-1]


@pytest.fixture(scope="module", params=[
    pytest.param(name, marks=pytest.mark.nightly if name == "centernet_resnet101" else ()) for name in MODELS])
def golden(request) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def detector(golden):
    return detector_of(golden.model, *PLAIN)


@pytest.fixture(scope="module")
def network(detector, golden):
    return network_of_the_recipe(detector, golden).set_train(False)


@pytest.fixture(scope="module")
def outputs(network, detector, golden) -> dict:
    """Maps of one inference call under the zoo's names."""
    backbone = detector.config.model.backbone_name
    names = {**{f"network.{backbone}.layer{stage + 1}": network.backbone.stages[stage] for stage in range(4)},
             f"network.{backbone}.deconv_layers": network.stages, "network.hm_fn": network.heatmap,
             "network.wh_fn": network.size, "network.reg_fn": network.offset}
    maps = {}

    def keep(name):
        return lambda _cell, _inputs, output: maps.update({name: output.asnumpy()})

    hooks = [cell.register_forward_hook(keep(name)) for name, cell in names.items()]
    (detections,) = detector.inference(network)(Tensor(recipe.network_input(golden.model))).asnumpy()
    for hook in hooks:
        hook.remove()
    return {**maps, "detections": detections}


@pytest.fixture(scope="module")
def training(detector, golden) -> tuple:
    """(losses, gradient by parameter name, network) of one training call with batch statistics."""
    network = network_of_the_recipe(detector, golden)
    loss = detector.loss(network).set_train(True)
    pictures, targets = training_batch(golden)
    images = NormalizeImages(detector.mean, detector.std)(Tensor(pictures))
    call = ms.value_and_grad(lambda *arrays: loss(*arrays), None, network.trainable_params(), has_aux=True)
    losses, gradients = call(images, *map(Tensor, targets))
    names = [parameter.name for parameter in network.trainable_params()]
    return [float(part) for part in losses], dict(zip(names, (g.asnumpy() for g in gradients))), network


# Parameters

def test_every_parameter_of_the_zoo_has_a_place_of_its_shape(detector, network, golden):
    ours = {parameter.name: (tuple(parameter.shape), parameter.requires_grad) for parameter in network.get_parameters()}
    zoo = {detector.from_zoo(key): (shape, trainable) for key, shape, trainable in golden.parameters()}
    assert len(zoo) == MODELS[golden.model]
    assert zoo == ours


def test_names_from_the_training_cell_of_resnet101_on_ascend(detector, golden):
    for key, _, _ in golden.parameters():
        assert detector.from_zoo(f"train_on_step.{key}") == detector.from_zoo(key)


@pytest.mark.parametrize("key", ["beta1_power", "moment1.network.hm_fn.0.weight",
                                 "train_on_step.optimizer.moment2.network.wh_fn.2.bias"])
def test_what_is_not_a_parameter_of_the_network_has_no_name_here(detector, key):
    assert detector.from_zoo(key) is None


# Forward

def test_forward(outputs, golden):
    measured = golden.read("forward")
    names = [name for name in sampled_names(measured) if name != "input_tensor"]
    assert set(names) == set(outputs) - {"detections"}
    for name in names:
        assert sample_error(measured, name, outputs[name]) < 1e-3 * spread(measured, name), name


def test_detections_of_the_forward(outputs, golden):
    np.testing.assert_allclose(outputs["detections"], golden.read("forward")["detections"], atol=2e-3)


def test_detections_of_the_exported_resolution():
    detector = detector_of(FIRST.model, *PLAIN)
    measured = FIRST.read("forward")
    assert detector.input_size == (680, 680)
    picture = Tensor(detector.preprocess(rgb(680, 680))[0][None])
    (found,) = detector.inference(network_of_the_recipe(detector, FIRST).set_train(False))(picture).asnumpy()
    np.testing.assert_allclose(found, measured["export680.detections"], atol=2e-3)


def test_peaks_of_fixed_maps():
    heat = 1 / (1 + np.exp(3 - recipe.tensor("cnet.hm", (1, 80, 24, 40), 1.5)))
    maps = [heat, recipe.tensor("cnet.wh", (1, 2, 24, 40), 2) + 6, recipe.tensor("cnet.reg", (1, 2, 24, 40), 0.3) + 0.5]
    (found,) = CenterNetInference(None, 100, 0.001).best_peaks(*(Tensor(array.astype(np.float32)) for array in maps))
    np.testing.assert_allclose(found.asnumpy(), FIRST.read("anchors")["decode.detections"], atol=1e-5)


# Postprocessing

@pytest.fixture(scope="module")
def geometry():
    return detector_of(FIRST.model).views(rgb(*PICTURE_SIZE))[0][1]


@pytest.mark.parametrize("name", ["forward", "raw"])
def test_detections_in_the_picture(golden, geometry, name):
    measured = golden.read("postprocess")
    found = decode([peaks_of(golden, name)], [geometry], 100, soft=False)
    check_rows(as_rows(found), measured[f"{name}.merged_soft0"])


@pytest.mark.parametrize("name", ["forward", "raw"])
def test_soft_nms_of_the_detections(golden, geometry, name):
    measured = golden.read("postprocess")
    rows, want = as_rows(decode([peaks_of(golden, name)], [geometry], 100, soft=True)), measured[f"{name}.merged_soft1"]
    assert len(rows) > 80 and rows[:, 4].min() >= 0.001
    # The zoo leaves copies behind in the places of boxes that it drops; the best of them has a score of 0.0052.
    sure = 0.006
    check_rows(rows[rows[:, 4] > sure], want[want[:, 4] > sure])
    for row in rows:
        assert np.abs(want - row).max(axis=1).min() < 2e-3


def peaks_of(golden, name: str) -> np.ndarray:
    return golden.read("forward")["detections"] if name == "forward" else golden.read("postprocess")["raw.detections"]


def as_rows(found) -> np.ndarray:
    """x1, y1, x2, y2, score, class counted from 1: the zoo's rows."""
    return np.column_stack([found.boxes, found.scores, found.labels + 1])


def check_rows(rows: np.ndarray, want: np.ndarray) -> None:
    """The same rows, those of equal scores in any order."""
    np.testing.assert_allclose(in_order(rows), in_order(want), atol=2e-3)


def in_order(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort([rows[:, 0].round(1), -rows[:, 4].round(5)])]


# Targets

def colourless(*flags: str):
    return detector_of(FIRST.model, "--color_aug", "false", *flags).train_transform()


@pytest.mark.parametrize("flipped", [False, True])
def test_targets_of_a_picture(flipped):
    measured, name = FIRST.read("anchors"), f"target.flip{int(flipped)}"
    sample = colourless()(rgb(*PICTURE_SIZE), as_sample(*truth(measured)), Draws(flipped))
    check_targets(sample, measured, name, slice(3))
    np.testing.assert_allclose(sample["heatmap"], heatmap(measured, name), atol=1e-6)
    assert sample["valid"].sum() == 3 and not sample["sizes"][3:].any()


def check_targets(sample: dict, measured: dict, name: str, rows) -> None:
    np.testing.assert_array_equal(sample["cells"][:len(measured[f"{name}.ind"][rows])], measured[f"{name}.ind"][rows])
    for ours, theirs in (("sizes", "wh"), ("offsets", "reg")):
        want = measured[f"{name}.{theirs}"][rows]
        np.testing.assert_allclose(sample[ours][:len(want)], want, atol=1e-4)


def test_targets_at_the_border_without_the_empty_box():
    measured = FIRST.read("anchors")
    boxes = measured["target.edge.gt"]
    factor, top = 512 / 640 / 4, (640 - 480) / 2 * 512 / 640 / 4
    encoder = TargetEncoder((128, 128), 80, 8)
    targets = encoder(boxes * factor + [0, top, 0, top], np.arange(4))
    want = heatmap(measured, "target.edge")
    assert want[2].max() == 1  # the zoo's target of a box without width
    want[2] = 0
    np.testing.assert_allclose(targets.heatmap, want, atol=1e-6)
    check_targets(targets._asdict(), measured, "target.edge", [0, 1, 3])


def test_radii():
    measured = FIRST.read("anchors")
    found = [gaussian_radius(*size) for size in measured["gaussian_radius.hw"].tolist()]
    assert found == measured["gaussian_radius.value"].tolist()


# Pictures

@pytest.mark.parametrize("name, size, flags", [
    ("keep_res", PICTURE_SIZE, []),
    ("fixed680", PICTURE_SIZE, ["--keep_res", "false"]),
    ("333x500_scale0.75", (333, 500), ["--multi_scales", "0.75"]),
])
def test_evaluation_input(name, size, flags):
    measured = FIRST.read("data")
    (network_input, geometry), = detector_of(FIRST.model, *flags).views(rgb(*size))
    assert sample_error(measured, f"eval.{name}.image", network_input[None]) <= 1.01 * ONE_GREY_LEVEL
    # the centre of the grid is the centre of the window
    scale = 0.75 if flags[:1] == ["--multi_scales"] else 1
    grid = np.array(network_input.shape[:0:-1]) / 4
    np.testing.assert_allclose(grid / 2 * geometry.factor + geometry.shift, measured[f"eval.{name}.c"] / scale)


@pytest.mark.parametrize("flipped", [False, True])
def test_training_picture(flipped):
    measured = FIRST.read("data")
    sample = colourless()(rgb(*PICTURE_SIZE), as_sample(*truth(measured)), Draws(flipped))
    error = sample_error(measured, f"train.flip{int(flipped)}.image_0_1_HWC_BGR",
                         sample["image"].astype(np.float32) / 255)
    assert error <= 1.01 / 255


@pytest.mark.parametrize("seed", range(3))
def test_random_crop(seed):
    measured, name = FIRST.read("data"), f"train.seed{seed}"
    sample = colourless()(rgb(*PICTURE_SIZE), as_sample(*truth(measured)), SeededLikeTheZoo(seed))
    assert sample_error(measured, f"{name}.image", sample["image"].astype(np.float32) / 255) <= 1.01 / 255
    present = (measured[f"{name}.wh"] > 0).all(axis=1)
    check_targets(sample, measured, name, np.flatnonzero(present))
    assert sample["valid"].sum() == present.sum()


def test_change_of_colours():
    import random

    measured, data = FIRST.read("data"), detector_of(FIRST.model).config.data

    class Draw:
        """The two generators of the zoo: `random` for the order, numpy for the amounts."""

        order, amounts = random.Random(3), np.random.RandomState(123)

        def permutation(self, names):
            self.order.shuffle(names)
            return names

        def uniform(self, low, high):
            assert (low, high) == (-COLOR_CHANGE, COLOR_CHANGE)
            return self.amounts.uniform(low=low, high=high)

        def normal(self, mean, deviation, count):
            return self.amounts.normal(mean, deviation, count)

    image = adjust_color(recipe.image(*PICTURE_SIZE, 1), np.array(data.eig_val), np.array(data.eig_vec), Draw())
    name = "color_aug.random.seed3_RandomState123"
    measured[f"{name}.sample"] = measured[f"{name}.sample"].clip(0, 1)  # ours are whole grey levels
    assert sample_error(measured, name, image.astype(np.float32) / 255) <= 1.01 / 255


# Loss

def test_loss_parts(training, golden):
    measured = golden.read("loss")
    want = [measured[part] for part in ("total", "hm_loss", "wh_loss", "off_loss")]
    np.testing.assert_allclose(training[0], want, rtol=2e-3)


def test_gradients(detector, training, golden):
    measured, gradients = golden.read("loss"), training[1]
    norms = {name: np.linalg.norm(gradient.astype(np.float64)) for name, gradient in gradients.items()}
    for key, norm in zip(measured["grad.names"], measured["grad.norms"]):
        assert norms[detector.from_zoo(str(key))] == pytest.approx(norm, rel=2e-2), key
    assert np.linalg.norm(list(norms.values())) == pytest.approx(measured["grad.global_norm"], rel=1e-2)


def test_moving_statistics_after_one_training_call(detector, training, golden):
    measured, parameters = golden.read("loss"), training[2].parameters_dict()
    keys = sampled_names(measured, "bn_after_one_forward.")
    assert len(keys) == 6
    for key in keys:
        name, found = f"bn_after_one_forward.{key}", parameters[detector.from_zoo(key)].asnumpy()
        assert stats_error(measured, name, found) < 1e-3 * spread(measured, name), key


def fixed_logits() -> np.ndarray:
    return recipe.tensor("cnet.hm", (1, 80, 24, 40), 1.5) - 3


def test_heat_map_loss_of_fixed_maps():
    measured, wanted = FIRST.read("loss"), np.zeros((1, 80, 24, 40), np.float32)
    assert float(heatmap_loss(Tensor(fixed_logits()), Tensor(wanted))) == pytest.approx(
        measured["fixed.focal_no_object"], rel=1e-5)
    for label, x, y, radius in ((0, 10, 5, 3), (16, 30, 20, 2), (79, 2, 22, 1)):
        draw_gaussian(wanted[0, label], (x, y), radius)
    assert float(heatmap_loss(Tensor(fixed_logits()), Tensor(wanted))) == pytest.approx(
        measured["fixed.focal"], rel=1e-5)


@pytest.mark.parametrize("per_coordinate, share", [(False, 1), (True, 0.5)])
def test_regression_loss_of_fixed_maps_per_object_and_per_coordinate(per_coordinate, share):
    maps = recipe.tensor("cnet.wh", (1, 2, 24, 40), 2) + 6
    targets, cells = [[4, 5], [7.5, 2], [3, 9], [0, 0]], [5 * 40 + 10, 20 * 40 + 30, 22 * 40 + 2, 0]
    loss = CenterNetLoss(None, (1, 1, 1), per_coordinate=per_coordinate)
    found = loss.regression_loss(Tensor(maps), Tensor([targets], ms.float32), Tensor([cells], ms.int32),
                                 Tensor([[1, 1, 1, 0]], ms.float32))
    assert float(found) == pytest.approx(share * FIRST.read("loss")["fixed.reg_l1"], rel=1e-4)


# Training

def test_learning_rates_in_steps():
    measured, config = FIRST.read("lr"), detector_of(FIRST.model).config
    rates = config.optimizer.learning_rates(int(measured["epochs"]), int(measured["steps_per_epoch"]), 256)
    np.testing.assert_allclose(rates[:600], measured["first600"], rtol=1e-6)
    np.testing.assert_allclose(rates[::50], measured["every50"], rtol=1e-6)
    np.testing.assert_allclose(rates[measured["around_boundaries_steps"]], measured["around_boundaries"], rtol=1e-6)


def test_polynomial_learning_rates():
    measured = FIRST.read("lr")
    config = detector_of(FIRST.model, "--lr_type", "PolyDecay", "--lr", "0.0005").config
    rates = config.optimizer.learning_rates(int(measured["epochs"]), int(measured["steps_per_epoch"]), 256)
    np.testing.assert_allclose(rates[::500], measured["poly.every500"], rtol=1e-5)


def test_only_weights_decay():
    measured, settings = FIRST.read("optim"), detector_of(FIRST.model, *PLAIN).config.optimizer
    assert settings.opt_type == "adam_l2" and settings.weight_decay == 0
    parameters = detector_of(FIRST.model, *PLAIN).network().trainable_params()
    decayed, others, _ = parameter_groups(parameters, 0.1, NORMS_AND_BIASES)
    assert [len(decayed["params"]), len(parameters)] == list(measured["decayed.count_of_trainable"])
    assert not any(parameter.name.endswith((".gamma", ".beta", ".bias")) for parameter in decayed["params"])
    assert len(others["params"]) == 118


def test_three_adam_steps_with_fixed_gradients():
    measured = FIRST.read("optim")
    keys = [str(key) for key in measured["names"]]
    shapes = {key: shape for key, shape, _ in FIRST.parameters()}
    parameters = [Parameter(Tensor(FIRST.value(key, shapes[key])), name=key) for key in keys]
    optimizer = build_optimizer(detector_of(FIRST.model).config.optimizer, parameters,
                                measured["lr"].astype(np.float32))
    for step in range(3):
        optimizer(tuple(Tensor(recipe.tensor(f"grad.{step}.{key}", shapes[key], 0.01)) for key in keys))
    for parameter in parameters:
        name = f"step3.{parameter.name}"
        assert stats_error(measured, name, parameter.asnumpy()) < 1e-4 * spread(measured, name), name


@pytest.mark.nightly
def test_two_training_steps():
    detector = detector_of(FIRST.model, *PLAIN)
    measured, network = FIRST.read("train_step"), network_of_the_recipe(detector, FIRST)
    optimizer = build_optimizer(detector.config.optimizer, network.trainable_params(), np.full(2, 4.8e-4, np.float32))
    step = TrainStep(detector.loss(network), optimizer, NormalizeImages(detector.mean, detector.std))
    pictures, targets = training_batch(FIRST)
    losses = [float(step(pictures, *targets).losses[0]) for _ in range(2)]
    np.testing.assert_allclose(losses, measured["loss"], rtol=5e-3)
