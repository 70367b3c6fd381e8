"""Builds optimizers with parameter groups and one learning rate per step."""
from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn, ops

NORMS = (".gamma", ".beta")
NORMS_AND_BIASES = (*NORMS, ".bias")
ADAM_EPSILON = 1e-7  # as in the zoo


_for_each = ops.HyperMap()


def _nesterov_update(momentum, rate, gradient, weight, moment):
    velocity = moment * momentum + gradient
    return ops.depend(ops.assign(weight, weight - rate * (gradient + momentum * velocity)),
                      ops.assign(moment, velocity))


class Nesterov(nn.Momentum):
    """Momentum in Nesterov's form, as PyTorch has it; the CPU kernel of MindSpore's ignores use_nesterov.

    One learning rate for all groups.
    """

    def construct(self, gradients):
        gradients = self.decay_weight(gradients)
        rate = self.get_lr()
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        return _for_each(ops.partial(_nesterov_update, self.momentum, rate), gradients, self.params, self.moments)


def parameter_groups(parameters: list, weight_decay: float, undecayed: tuple = NORMS) -> list:
    """Split parameters by the endings of their names into those with and those without weight decay.

    By default scales and shifts of norms do not decay: MindSpore's rule, with which the old zoo trained SSD.
    """
    decayed = [parameter for parameter in parameters if not parameter.name.endswith(undecayed)]
    others = [parameter for parameter in parameters if parameter.name.endswith(undecayed)]
    groups = [{"params": decayed, "weight_decay": weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    return groups + [{"order_params": parameters}]


def build_optimizer(settings, parameters: list, learning_rates: np.ndarray) -> nn.Optimizer:
    """The optimizer that the settings describe; learning_rates has one value per update of the whole run.

    momentum: v = momentum v + (g + decay w), w = w - lr v; the old zoo trains SSD with it. With nesterov
    w = w - lr ((g + decay w) + momentum v) instead, as in PyTorch.
    adam: Adam with decoupled decay (Loshchilov and Hutter 2019). On a small set it needs hundreds of steps where
    momentum needs thousands.
    adam_l2: Adam (Kingma and Ba 2015) with the decay added to the gradient, and without decay of biases; the old zoo
    trains CenterNet with it.
    """
    rates = Tensor(learning_rates)
    if settings.opt_type == "adam_l2":
        groups = parameter_groups(parameters, settings.weight_decay, NORMS_AND_BIASES)
        return nn.Adam(groups, rates, eps=ADAM_EPSILON)
    groups = parameter_groups(parameters, settings.weight_decay)
    if settings.opt_type == "adam":
        return nn.AdamWeightDecay(groups, rates)
    return (Nesterov if settings.nesterov else nn.Momentum)(groups, rates, settings.momentum)
