"""A compiled graph keeps the mode its network was in when it was compiled: training and evaluation must not mix."""
from __future__ import annotations

import numpy as np
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

    np.testing.assert_allclose(beside_another, alone, rtol=1e-5, atol=1e-6)
