"""Training and evaluation are two compiled graphs over one network: neither may keep a mode or weights of its own."""
from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from src.engine.train_step import TrainStep
from src.evaluation.predictor import network_runner


class Mean(nn.Cell):
    parts = ("loss",)

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images):
        return ((self.network(images) - 1) ** 2).mean(),


class AsItIs(nn.Cell):
    def construct(self, images):
        return images


def small_network():
    return nn.SequentialCell(nn.Conv2d(3, 4, 3, weight_init="ones"), nn.BatchNorm2d(4))


def test_an_evaluation_before_the_first_step_leaves_training_on_batch_statistics():
    images = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32) + 5
    network = small_network()
    run = network_runner(network)
    before = run(images)[0]
    step = TrainStep(Mean(network), nn.Momentum(network.trainable_params(), Tensor(np.full(3, 0.1, np.float32)), 0.9),
                     AsItIs())

    step(images)

    moved = network[1].moving_mean.asnumpy()
    assert (moved > 1).all(), "the moving mean stays at 0 when a batch norm was compiled for inference"
    assert np.abs(run(images)[0] - before).max() > 0.1


def test_a_step_before_the_first_evaluation_leaves_evaluation_on_moving_statistics():
    images = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    network = small_network()
    step = TrainStep(Mean(network), nn.Momentum(network.trainable_params(), Tensor(np.full(3, 0.1, np.float32)), 0.9),
                     AsItIs())
    step(images)
    run = network_runner(network)

    alone, beside_another = run(images[:1])[0], run(images)[0]

    np.testing.assert_allclose(beside_another[:1], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE])
def test_evaluations_between_steps_see_the_weights_of_that_moment(mode):
    before = ms.get_context("mode")
    ms.set_context(mode=mode)
    try:
        images = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
        network = small_network()
        run = network_runner(network)
        rates = Tensor(np.full(20, 0.1, np.float32))
        step = TrainStep(Mean(network), nn.Momentum(network.trainable_params(), rates, 0.9), AsItIs(), ema_decay=0.9)
        for _ in range(3):
            step(images)
            own = {name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}
            averaged = {name: parameter.asnumpy() for name, parameter in step.deployed_weights().items()}
            with step.deployed():
                np.testing.assert_allclose(run(images)[0], outputs_of(averaged, images), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(run(images)[0], outputs_of(own, images), rtol=1e-4, atol=1e-5)
            for name, parameter in network.parameters_dict().items():
                np.testing.assert_array_equal(parameter.asnumpy(), own[name])
    finally:
        ms.set_context(mode=before)


def outputs_of(weights: dict, images):
    network = small_network()
    for name, parameter in network.parameters_dict().items():
        parameter.set_data(Tensor(weights[name]))
    network.set_train(False)
    return network(Tensor(images)).asnumpy()
