"""What one training step promises, on networks small enough to be worked out with numpy."""
from __future__ import annotations

from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from src.engine import train_step as module
from src.engine.build import fix_parts
from src.engine.optimizer import build_optimizer
from src.engine.train_step import TrainStep, averaging_decay
from src.errors import CheckpointError
from src.evaluation.predictor import network_runner

WEIGHTS = np.array([[0.5, -1.0]], np.float32)
X = np.array([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5], [-2.0, 1.0]], np.float32)
Y = np.array([[1.0], [0.0], [2.0], [-1.0]], np.float32)


class AsItIs(nn.Cell):
    """Stands for the normalisation of images."""

    def construct(self, images):
        return images


class SquaredError(nn.Cell):
    """Mean of (network(x) - y)^2."""

    parts = ("loss", "largest_error")

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images, wanted):
        error = self.network(images) - wanted
        return (error * error).mean(), ops.abs(error).max()


class ConvNormDense(nn.Cell):
    """One of each kind of parameter: weights, bias, gamma, beta, moving statistics."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Dense(4, 1)

    def construct(self, images):
        return self.head(ops.relu(self.norm(self.conv(images))).mean((2, 3)))


class Inference(nn.Cell):
    """A network as it is evaluated: a tuple of outputs."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        return (self.network(images),)


def linear() -> nn.Cell:
    """x . WEIGHTS: the gradient of its squared error is 2 / B * x^T (x w - y)."""
    return nn.Dense(2, 1, weight_init=Tensor(WEIGHTS), has_bias=False)


def optimizer_of(parameters: list, rates: list, momentum=0.9, weight_decay=0.0, opt_type="momentum",
                 nesterov=False) -> nn.Optimizer:
    settings = SimpleNamespace(opt_type=opt_type, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    return build_optimizer(settings, parameters, np.array(rates, np.float32))


def step_of(network: nn.Cell, lr=0.1, momentum=0.9, weight_decay=0.0, opt_type="momentum", **settings) -> TrainStep:
    loss = SquaredError(network)
    loss.set_train(True)
    optimizer = optimizer_of(loss.trainable_params(), [lr] * 100, momentum, weight_decay, opt_type)
    return TrainStep(loss, optimizer, AsItIs(), **settings)


def gradient(weights: np.ndarray, x=X, y=Y) -> np.ndarray:
    return 2 / len(x) * (x @ weights.T - y).T @ x


def weights_of(step: TrainStep) -> np.ndarray:
    return step.weights[0].asnumpy().copy()


def everything(step: TrainStep) -> dict:
    """Copies of all arrays that training changes, without the counters of skipped and good steps."""
    arrays = {parameter.name: parameter.asnumpy().copy() for parameter in step.get_parameters()}
    arrays.update({parameter.name: parameter.asnumpy().copy() for parameter in step.averages})
    helpers = ("good", "sum.", "kept.", "skipped_in_row", "loss_scale")
    return {name: array for name, array in arrays.items() if not name.startswith(helpers)}


def images(seed: int, value=None) -> tuple:
    """A batch for ConvNormDense; `value` puts one pixel to it."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(4, 3, 6, 6)).astype(np.float32)
    if value is not None:
        images[0, 0, 0, 0] = value
    return images, rng.normal(size=(4, 1)).astype(np.float32)


# A batch that is not finite

@pytest.fixture(scope="module")
def averaged_step() -> TrainStep:
    """ConvNormDense with moments and averages after one good step."""
    step = step_of(ConvNormDense(), ema_decay=0.5)
    step(*images(0))
    return step


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_batch_that_is_not_finite_changes_nothing_and_is_counted(averaged_step, value):
    before = everything(averaged_step)
    kinds = ("moments.", "ema.", "moving_mean", "moving_variance", "conv.weight", "norm.gamma")
    assert all(any(kind in name for name in before) for kind in kinds)

    skipped = [int(averaged_step(*images(1, value)).skipped_in_row.asnumpy()) for _ in range(2)]

    assert skipped == [1, 2]
    after = everything(averaged_step)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)

    assert int(averaged_step(*images(2)).skipped_in_row.asnumpy()) == 0
    after = everything(averaged_step)
    unchanged = [name for name in before if np.array_equal(after[name], before[name])]
    assert not [name for name in unchanged if name.startswith(("conv", "norm", "head", "moments", "ema"))]


def test_a_gradient_that_is_infinite_does_not_enter_the_weights():
    """Its squares overflow, and nothing is NaN."""
    step = step_of(linear())
    result = step(np.float32(1e25) * X, Y)
    assert np.isposinf(result.grad_norm.asnumpy()) and int(result.skipped_in_row.asnumpy()) == 1
    np.testing.assert_array_equal(step.weights[0].asnumpy(), WEIGHTS)


@pytest.mark.parametrize("finite", [True, False])
def test_an_overflow_that_only_the_chip_has_recorded_changes_nothing(finite):
    """On a chip that saturates, the gradient looks finite."""
    def all_finite(_):
        return Tensor(finite)

    step = step_of(linear(), loss_scale=8.0, dynamic_loss_scale=True, all_finite=all_finite)
    result = step(X, Y)
    assert np.isfinite(result.grad_norm.asnumpy()) and int(result.skipped_in_row.asnumpy()) == int(not finite)
    assert step.scale.asnumpy() == (8 if finite else 4)
    assert np.array_equal(step.weights[0].asnumpy(), WEIGHTS) is not finite


def test_what_a_step_reports():
    result = step_of(linear())(X, Y)
    error = X @ WEIGHTS.T - Y
    np.testing.assert_allclose(result.losses[0].asnumpy(), (error ** 2).mean(), rtol=1e-6)
    np.testing.assert_allclose(result.losses[1].asnumpy(), np.abs(error).max(), rtol=1e-6)
    np.testing.assert_allclose(result.grad_norm.asnumpy(), np.linalg.norm(gradient(WEIGHTS)), rtol=1e-6)


# Loss scale

def test_the_dynamic_loss_scale_halves_on_overflow_down_to_one():
    step = step_of(linear(), loss_scale=4.0, dynamic_loss_scale=True)
    infinite = np.full_like(X, np.inf)
    scales = []
    for batch in (infinite, X, infinite, infinite):
        step(batch, Y)
        scales.append(float(step.scale.asnumpy()))
    assert scales == [2, 2, 1, 1]


def test_the_dynamic_loss_scale_doubles_after_good_steps_in_a_row(monkeypatch):
    monkeypatch.setattr(module, "GROWTH_INTERVAL", 2)
    step = step_of(linear(), lr=0.01, loss_scale=4.0, dynamic_loss_scale=True)
    scales = []
    for batch in (X, np.full_like(X, np.nan), X, X, X):
        step(batch, Y)
        scales.append(float(step.scale.asnumpy()))
    assert scales == [4, 2, 2, 4, 4]


def test_a_static_loss_scale_changes_no_bit():
    """1024 is a power of two: multiplying and dividing by it is exact."""
    plain, scaled = step_of(linear(), weight_decay=0.01), step_of(linear(), weight_decay=0.01, loss_scale=1024.0)
    for _ in range(3):
        norms = [float(step(X, Y).grad_norm.asnumpy()) for step in (plain, scaled)]
        assert norms[0] == norms[1]
    np.testing.assert_array_equal(weights_of(scaled), weights_of(plain))
    scaled(np.full_like(X, np.nan), Y)
    assert float(scaled.scale.asnumpy()) == 1024


# Clipping, accumulation, averages, decay

@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_clipping_caps_the_global_norm(limit):
    step = step_of(linear(), lr=1.0, momentum=0.0, clip_norm=limit, loss_scale=8.0)
    whole = gradient(WEIGHTS)
    norm = np.linalg.norm(whole)

    result = step(X, Y)

    np.testing.assert_allclose(result.grad_norm.asnumpy(), norm, rtol=1e-6)  # before clipping
    np.testing.assert_allclose(weights_of(step), WEIGHTS - whole * min(1, limit / norm), rtol=1e-5)


def test_the_norm_that_is_clipped_is_that_of_all_parameters_together():
    step = step_of(ConvNormDense(), lr=1.0, momentum=0.0, clip_norm=1e-2)
    before = [weight.asnumpy().copy() for weight in step.weights]
    step(*images(0))
    moved = [weight.asnumpy() - old for weight, old in zip(step.weights, before)]
    assert np.sqrt(sum((part.astype(np.float64) ** 2).sum() for part in moved)) == pytest.approx(1e-2, rel=1e-3)


def test_two_half_batches_make_the_step_of_the_whole_one():
    halves = step_of(linear(), accumulation_steps=2, loss_scale=4.0)
    for _ in range(3):
        halves(X[:2], Y[:2])
        before = weights_of(halves)
        halves(X[2:], Y[2:])
        assert not np.array_equal(weights_of(halves), before)
    whole = step_of(linear())
    for _ in range(3):
        whole(X, Y)
    np.testing.assert_allclose(weights_of(halves), weights_of(whole), rtol=1e-5)


def test_the_first_of_two_half_batches_moves_no_weight():
    step = step_of(linear(), accumulation_steps=2)
    step(X[:2], Y[:2])
    np.testing.assert_array_equal(weights_of(step), WEIGHTS)


@pytest.mark.parametrize("bad_half", [0, 1])
def test_a_half_batch_that_is_not_finite_costs_one_update_only(bad_half):
    step = step_of(linear(), momentum=0.0, accumulation_steps=2)
    halves = [(X[:2], Y[:2]), (X[2:], Y[2:])]
    halves[bad_half] = (np.full((2, 2), np.nan, np.float32), Y[:2])
    for half in halves:
        skipped = int(step(*half).skipped_in_row.asnumpy())
    assert skipped == 1
    np.testing.assert_array_equal(weights_of(step), WEIGHTS)

    for half in ((X[:2], Y[:2]), (X[2:], Y[2:])):
        skipped = int(step(*half).skipped_in_row.asnumpy())

    assert skipped == 0
    np.testing.assert_allclose(weights_of(step), WEIGHTS - 0.1 * gradient(WEIGHTS), rtol=1e-5)


def test_averages_follow_their_formula_and_are_what_is_deployed():
    step = step_of(linear(), momentum=0.0, ema_decay=0.75)
    average, own = WEIGHTS.astype(np.float64), WEIGHTS.astype(np.float64)
    for updates in range(3):
        step(X, Y)
        own = own - 0.1 * gradient(own)
        decay = (1 + updates) / (10 + updates)  # 0.1, 2/11, 0.25: below the final one of 0.75
        average = decay * average + (1 - decay) * own
    np.testing.assert_allclose(weights_of(step), own, rtol=1e-5)
    np.testing.assert_allclose(step.deployed_weights()["weight"].asnumpy(), average, rtol=1e-5)

    trained = weights_of(step)
    with step.deployed():
        np.testing.assert_allclose(weights_of(step), average, rtol=1e-5)
    np.testing.assert_array_equal(weights_of(step), trained)
    with pytest.raises(KeyError), step.deployed():
        raise KeyError("an evaluation that fails")
    np.testing.assert_array_equal(weights_of(step), trained)


@pytest.mark.parametrize("decay, updates, expected", [
    (0.99, 0, 0.1), (0.99, 90, 0.91), (0.99, 2000, 0.99), (0.05, 0, 0.05)])
def test_the_decay_of_averages_ramps_up_to_its_setting(decay, updates, expected):
    found = averaging_decay(decay, ms.Tensor(float(updates), ms.float32))
    assert float(found.asnumpy()) == pytest.approx(expected, rel=1e-6)


def test_training_goes_on_from_the_own_weights_after_an_evaluation():
    """A compiled evaluation beside the compiled step sees the weights that are meant, at every time."""
    step = step_of(linear(), momentum=0.0, ema_decay=0.75)
    evaluate = network_runner(Inference(step.loss.network))
    own = average = WEIGHTS.astype(np.float64)
    for decay in (1 / 10, 2 / 11, 3 / 12):
        step(X, Y)
        own = own - 0.1 * gradient(own)
        average = decay * average + (1 - decay) * own
        with step.deployed():
            np.testing.assert_allclose(evaluate(X)[0], X @ average.T, rtol=1e-5)
        np.testing.assert_allclose(weights_of(step), own, rtol=1e-5)
        np.testing.assert_allclose(evaluate(X)[0], X @ own.T, rtol=1e-5)
    np.testing.assert_allclose(step.state()["weight"], own, rtol=1e-5)


def test_without_averages_the_own_weights_are_deployed():
    step = step_of(linear())
    step(X, Y)
    trained = weights_of(step)
    np.testing.assert_array_equal(step.deployed_weights()["weight"].asnumpy(), trained)
    with step.deployed():
        np.testing.assert_array_equal(weights_of(step), trained)


def test_weights_and_biases_decay_norms_do_not():
    names = ("conv.weight", "conv.bias", "norm.gamma", "norm.beta")
    parameters = [Parameter(np.array([2.0], np.float32), name=name) for name in names]
    optimizer = optimizer_of(parameters, [0.5, 0.5], weight_decay=0.1)

    optimizer(tuple(Tensor(np.zeros(1, np.float32)) for _ in parameters))

    # v = 0.9 * 0 + (0 + 0.1 * 2) = 0.2, w = 2 - 0.5 * 0.2
    assert [float(parameter.asnumpy()[0]) for parameter in parameters] == pytest.approx([1.9, 1.9, 2, 2])


@pytest.mark.parametrize("in_graph", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_follows_its_formula_in_both_forms(nesterov, in_graph):
    """PyTorch's SGD: v = 0.9 v + g + decay w, w = w - lr v, or w - lr (g + decay w + 0.9 v)."""
    network = linear()
    optimizer = optimizer_of(network.trainable_params(), [0.1] * 3, 0.9, 0.01, nesterov=nesterov)

    def update(gradient):
        return optimizer((gradient,))

    update = ms.jit(update) if in_graph else update
    weights, velocity = WEIGHTS.copy(), np.zeros_like(WEIGHTS)
    for number in range(3):
        given = np.array([[1.0, -2.0 * number]], np.float32)
        update(Tensor(given))
        change = given + 0.01 * weights
        velocity = 0.9 * velocity + change
        weights = weights - 0.1 * (change + 0.9 * velocity if nesterov else velocity)
        np.testing.assert_allclose(network.weight.asnumpy(), weights, rtol=1e-5)


def test_every_step_has_its_own_rate_and_a_skipped_one_does_not_use_it_up():
    loss = SquaredError(linear())
    step = TrainStep(loss, optimizer_of(loss.trainable_params(), [0.1, 0.02], momentum=0.0), AsItIs())
    own = WEIGHTS
    for rate in (0.1, 0.02):
        step(np.full_like(X, np.nan), Y)
        step(X, Y)
        own = own - rate * gradient(own)
        np.testing.assert_allclose(weights_of(step), own, rtol=1e-5)


# State

def a_run(start: int, stop: int, step: TrainStep, bad=()) -> None:
    for number in range(start, stop):
        step(*images(number, np.nan if number in bad else None))


SETTINGS = {"ema_decay": 0.9, "accumulation_steps": 2, "loss_scale": 8.0, "dynamic_loss_scale": True}


@pytest.mark.parametrize("settings, stop, bad", [
    ({}, 3, ()),
    ({"opt_type": "adam", "lr": 0.01, "weight_decay": 0.1}, 3, ()),
    ({"opt_type": "adam_l2", "lr": 0.01, "weight_decay": 0.1}, 3, ()),
    (SETTINGS, 3, ()),          # in the middle of an accumulation
    (SETTINGS, 4, (2, 5)),      # after an overflow, with another one to come
    (SETTINGS, 3, (3,)),        # in the middle of an accumulation, whose second half overflows
], ids=["plain", "adam", "adam_l2", "accumulating", "overflow", "accumulating then overflow"])
def test_a_step_with_restored_state_goes_on_bit_for_bit(settings, stop, bad):
    whole = step_of(ConvNormDense(), **settings)
    a_run(0, stop, whole, bad)
    state = {name: array.copy() for name, array in whole.state().items()}
    network = {name: parameter.asnumpy().copy() for name, parameter in whole.deployed_weights().items()}
    a_run(stop, 8, whole, bad)

    continued = step_of(ConvNormDense(), **settings)
    for parameter in continued.loss.get_parameters():
        parameter.set_data(Tensor(network[parameter.name]))
    continued.restore(state)
    a_run(stop, 8, continued, bad)

    for name, array in everything(whole).items():
        np.testing.assert_array_equal(everything(continued)[name], array, err_msg=name)
    for name, array in whole.state().items():
        np.testing.assert_array_equal(continued.state()[name], array, err_msg=name)


def test_the_good_steps_before_the_scale_grows_are_saved():
    step, continued = (step_of(linear(), loss_scale=2.0, dynamic_loss_scale=True) for _ in range(2))
    step(X, Y)
    continued.restore(step.state())
    assert int(continued.good_in_row.asnumpy()) == int(step.good_in_row.asnumpy()) == 1


@pytest.mark.parametrize("other, what", [
    ({"moments.weight": np.zeros((5, 5), np.float32)}, r"shape \(5, 5\) for moments.weight"),
    ({"moments.weight": None}, "nothing for moments.weight"),
    ({"loss_scale": None}, "nothing for loss_scale"),
    ({"micro_step": None}, "micro_step"),
])
def test_the_state_of_another_training_is_refused(other, what):
    step = step_of(linear())
    state = {name: array for name, array in {**step.state(), **other}.items() if array is not None}
    with pytest.raises(CheckpointError, match=what):
        step.restore(state)


def test_the_state_of_a_run_without_averages_does_not_fit_one_with_them():
    with pytest.raises(CheckpointError, match="nothing for weight"):
        step_of(linear(), ema_decay=0.9).restore(step_of(linear()).state())


def test_in_graph_mode_too():
    """The commands run in graph mode; which mode the other tests of this file see depends on what ran before."""
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        step = step_of(linear(), momentum=0.0)
        step(X, Y)
        np.testing.assert_allclose(weights_of(step), WEIGHTS - 0.1 * gradient(WEIGHTS), rtol=1e-5)
    finally:
        ms.set_context(mode=mode)


# Parts that are not trained

def test_fixed_norms_use_and_keep_the_statistics_they_have():
    network = ConvNormDense()
    network.norm.moving_mean.set_data(Tensor([1.0, 2.0, 3.0, 4.0]))
    fix_parts(network, SimpleNamespace(fixed_norms=True, freeze_layer="none"))
    batch, wanted = images(0)
    loss_before = float(((network.set_train(False)(Tensor(batch)).asnumpy() - wanted) ** 2).mean())
    step = step_of(network)
    gamma = network.norm.gamma.asnumpy().copy()

    loss = float(step(batch, wanted).losses[0].asnumpy())

    assert loss == pytest.approx(loss_before, rel=1e-5)
    np.testing.assert_array_equal(network.norm.moving_mean.asnumpy(), [1, 2, 3, 4])
    np.testing.assert_array_equal(network.norm.moving_variance.asnumpy(), np.ones(4))
    assert not np.array_equal(network.norm.gamma.asnumpy(), gamma)
