"""Optimizers over grouped parameters, with one learning rate per step."""
from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn

UNDECAYED = (".gamma", ".beta")


def parameter_groups(parameters: list, weight_decay: float) -> list:
    """Weights and biases decay, norm scales and shifts do not: MindSpore's rule, which the old zoo trained with."""
    decayed = [parameter for parameter in parameters if not parameter.name.endswith(UNDECAYED)]
    others = [parameter for parameter in parameters if parameter.name.endswith(UNDECAYED)]
    groups = [{"params": decayed, "weight_decay": weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    return groups + [{"order_params": parameters}]


def momentum(parameters: list, learning_rates: np.ndarray, momentum: float, weight_decay: float) -> nn.Momentum:
    """v = momentum v + (g + decay w), w = w - lr v; learning_rates holds one value per step of the whole run."""
    return nn.Momentum(parameter_groups(parameters, weight_decay), Tensor(learning_rates), momentum)
