"""Compares every native operator with MindSpore's on small inputs."""
from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from src.ops import native
from src.ops.native.depthwise import NativeDepthwise
from src.ops.native.library import BuildError

TOLERANCE = 1e-4    # of the largest value


def check(path: Path) -> None:
    """Raises BuildError that names the operator if one of the library `path` differs from MindSpore's."""
    said = native.use_library(path)
    if not native.in_use():
        raise BuildError(said)
    try:
        for name, found, wanted in _compared():
            for one, other in zip(found, wanted):
                largest = max(1e-3, np.abs(other).max())
                if one.shape != other.shape or not np.abs(one - other).max() <= TOLERANCE * largest:
                    raise BuildError(f"self-check: {name} differs from MindSpore's operator")
    finally:
        native.leave()


def _compared() -> Iterator[tuple]:
    """(name, our arrays, MindSpore's): output and gradients."""
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 9, 22), (3, 1, 3, 3)))
    for stride in (1, 2):
        for padding in (None, 1):
            settings = {"pad_mode": "same"} if padding is None else {"pad_mode": "pad", "pad": padding}
            yield (f"depthwise convolution, stride {stride}, padding {padding}",
                   *(output_and_gradients(convolve, x, weight) for convolve in (
                       NativeDepthwise(stride, padding), ops.Conv2D(3, 3, group=3, stride=stride, **settings))))


class Gradients(nn.Cell):
    """(inputs of `function`, factors) -> gradients of the sum of its output times the factors."""

    def __init__(self, function: Callable):
        super().__init__(auto_prefix=False)
        self.function = function
        self.gradients = ops.GradOperation(get_all=True, sens_param=True)

    def construct(self, *inputs):
        return self.gradients(self.function)(*inputs)


class Output(nn.Cell):
    """(inputs of `function`) -> its output: an operator of MindSpore as a Cell."""

    def __init__(self, function: Callable):
        super().__init__(auto_prefix=False)
        self.function = function

    def construct(self, *inputs):
        return self.function(*inputs)


def output_and_gradients(function: Callable, *inputs: np.ndarray) -> list[np.ndarray]:
    """The output of `function`, and the gradients by each input of the output times fixed random numbers."""
    function, tensors = Output(function), tuple(map(Tensor, inputs))
    output = function(*tensors)
    factors = Tensor(np.random.default_rng(1).standard_normal(output.shape), ms.float32)
    return [array.asnumpy() for array in (output, *Gradients(function)(*tensors, factors))]
