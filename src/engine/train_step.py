"""One optimizer step, compiled: forward, gradient, all-reduce, finite check, unscale, clip, update, average."""
from __future__ import annotations

import contextlib
from typing import Callable, NamedTuple, Optional

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from src.errors import CheckpointError

GROWTH_INTERVAL = 2000  # a dynamic loss scale doubles after this number of finite steps in a row

# Graph mode unrolls Python loops and exhausts the stack with several hundred parameters; HyperMap avoids it.
_for_each = ops.HyperMap()


def _square_sum(gradient):
    # Rows first: a sum over all axes at once takes ten times as long on a CPU.
    squares = gradient * gradient
    return squares.reshape(squares.shape[0], -1).sum(1).sum() if squares.ndim > 1 else squares.sum()


def _multiply(factor, value):
    return value * factor


def _add(first, second):
    return first + second


def _move_towards(rate, average, value):
    return ops.assign(average, average + (value - average) * rate)


def averaging_decay(decay: float, updates):
    """Decay of the averaged weights after `updates` updates. It rises from 0.1, so that a short run does not deploy
    nearly initial weights (tf.train.ExponentialMovingAverage, num_updates)."""
    return ops.minimum(decay, (1.0 + updates) / (10.0 + updates))


class StepResult(NamedTuple):
    """The result of one step."""

    losses: tuple        # scalars named by the loss's `parts`
    grad_norm: Tensor    # global norm of the gradient, unscaled, before clipping
    skipped_in_row: Tensor  # steps without a finite gradient since the last good one
    stop: Tensor         # (1,) above 0 if any rank was called with `stop`


class TrainStep(nn.Cell):
    """Computes `loss` on a batch and updates its parameters.

    A step whose gradient is not finite changes nothing: parameters, moments, averages and moving statistics keep their
    values, and `skipped_in_row` counts the step.

    loss: Cell (images, *targets) -> (total, *parts). normalize: Cell for the uint8 images.
    loss_scale: factor on the loss before the gradient; dynamic_loss_scale: halve it on overflow.
    clip_norm: largest global norm of the gradient, 0 = off. accumulation_steps: batches per update.
    ema_decay: final decay of the averaged weights in `averages`, 0 = off. reducer: averages gradients over the ranks.
    all_finite: gradients -> () bool, asked besides the norm of the gradient. A chip that saturates (910A) turns Inf
    into its largest number and NaN into 0, so that only its own record of overflows shows them.
    """

    def __init__(self, loss: nn.Cell, optimizer: nn.Optimizer, normalize: nn.Cell, *, loss_scale: float = 1.0,
                 dynamic_loss_scale: bool = False, clip_norm: float = 0.0, accumulation_steps: int = 1,
                 ema_decay: float = 0.0, reducer: Optional[nn.Cell] = None, all_finite: Optional[Callable] = None):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.optimizer = optimizer
        self.normalize = normalize
        self.weights = optimizer.parameters
        self.dynamic_loss_scale = dynamic_loss_scale
        self.clip_norm = clip_norm
        self.accumulation_steps = accumulation_steps
        self.ema_decay = ema_decay
        self.reducer = reducer
        self.sum_over_ranks = None if reducer is None else ops.AllReduce()
        self.all_finite = all_finite
        self.scale = Parameter(Tensor(loss_scale, ms.float32), name="loss_scale", requires_grad=False)
        self.good_in_row = Parameter(Tensor(0, ms.int32), name="good_in_row", requires_grad=False)
        self.skipped_in_row = Parameter(Tensor(0, ms.int32), name="skipped_in_row", requires_grad=False)
        self.statistics = ParameterTuple([parameter for parameter in loss.get_parameters()
                                          if parameter.name.endswith((".moving_mean", ".moving_variance"))])
        self.good_statistics = self.statistics.clone("good", "same")
        self.averages = self.weights.clone("ema", "same") if ema_decay else ()
        self.kept_weights = self.weights.clone("kept", "same") if ema_decay else ()
        self.sums = self.weights.clone("sum", "zeros") if accumulation_steps > 1 else ()
        self.value_and_grad = ms.value_and_grad(self._scaled_loss, None, self.weights, has_aux=True)
        self.micro_step = 0

    def __call__(self, images: np.ndarray, *targets: np.ndarray, stop: bool = False) -> StepResult:
        """Process one batch. With accumulation only every accumulation_steps-th call updates the parameters.

        stop: wish of this rank to end after this step; the result tells it to all ranks without a collective of its own
        that the host would wait for.
        """
        self.loss.set_train(True)  # an evaluation before may have set the other mode
        self.micro_step = (self.micro_step + 1) % self.accumulation_steps
        arrays = [Tensor(array) for array in (np.array([stop], np.float32), images, *targets)]
        return StepResult(*(self._update(*arrays) if self.micro_step == 0 else self._accumulate(*arrays)))

    def state(self) -> dict:
        """The arrays by name that an exact resume needs besides the deployed weights."""
        arrays = {parameter.name: parameter.asnumpy() for parameter in self._state_parameters()}
        return {**arrays, "micro_step": np.array(self.micro_step)}

    def restore(self, state: dict) -> None:
        """Restore the result of `state`; raises CheckpointError if it belongs to another training."""
        for parameter in self._state_parameters():
            array = state.get(parameter.name)
            if array is None or array.shape != tuple(parameter.shape):
                found = "nothing" if array is None else f"an array of shape {array.shape}"
                raise CheckpointError(f"the saved state has {found} for {parameter.name} {tuple(parameter.shape)}; "
                                      "resume with the settings the run was started with")
            parameter.set_data(Tensor(array))
        micro_step = state.get("micro_step")
        if micro_step is None or micro_step.shape != () or not 0 <= micro_step < self.accumulation_steps:
            raise CheckpointError(f"the saved state has no valid micro_step but {micro_step}; resume with the settings "
                                  "the run was started with")
        self.micro_step = int(micro_step)
        if self.accumulation_steps == 1:
            for good, statistic in zip(self.good_statistics, self.statistics):
                good.set_data(Tensor(statistic.asnumpy()))

    def deployed_weights(self) -> dict:
        """The parameters of a checkpoint by name: averaged weights if averaging is on, else the trained ones."""
        averaged = dict(zip((weight.name for weight in self.weights), self.averages))
        return {name: averaged.get(name, parameter) for name, parameter in self.trained_weights().items()}

    def trained_weights(self) -> dict:
        """The parameters of the network by name, without averaging."""
        return {parameter.name: parameter for parameter in self.loss.get_parameters()}

    @contextlib.contextmanager
    def deployed(self):
        """Context manager: the network has the deployed weights inside its block."""
        if not self.averages:
            yield
            return
        self._take_averages()
        try:
            yield
        finally:
            self._give_weights_back()

    def _state_parameters(self) -> list:
        recomputed = {"learning_rate", *(weight.name for weight in self.weights)}
        moments = [parameter for parameter in self.optimizer.get_parameters() if parameter.name not in recomputed]
        own_weights = self.weights if self.averages else ()
        # Between the batches of an update, the moving statistics are newer than the last good ones.
        good_statistics = self.good_statistics if self.accumulation_steps > 1 else ()
        return [self.scale, self.good_in_row, self.skipped_in_row, *own_weights, *self.averages, *self.sums,
                *good_statistics, *moments]

    def _scaled_loss(self, images, *targets):
        losses = self.loss(self.normalize(images), *targets)
        return losses[0] * self.scale, losses

    # Copied in a graph: after set_data, graphs compiled before would keep other weights.
    @ms.jit
    def _take_averages(self):
        _for_each(ops.assign, self.kept_weights, self.weights)
        _for_each(ops.assign, self.weights, self.averages)
        return self.scale + 0

    @ms.jit
    def _give_weights_back(self):
        _for_each(ops.assign, self.weights, self.kept_weights)
        return self.scale + 0

    def _losses_and_gradients(self, images, *targets):
        # All-reduced in every batch, also with accumulation, so that the saved sums of rank 0 are valid for all ranks.
        (_, losses), gradients = self.value_and_grad(images, *targets)
        return losses, gradients if self.reducer is None else self.reducer(gradients)

    @ms.jit
    def _accumulate(self, stop, images, *targets):
        losses, gradients = self._losses_and_gradients(images, *targets)
        _for_each(ops.assign_add, self.sums, gradients)
        if self.sum_over_ranks is not None:
            stop = self.sum_over_ranks(stop)
        return losses, ops.zeros_like(self.scale), self.skipped_in_row + 0, stop

    @ms.jit
    def _update(self, stop, images, *targets):
        losses, gradients = self._losses_and_gradients(images, *targets)
        if self.accumulation_steps > 1:
            gradients = _for_each(_add, self.sums, gradients)
        # The norm is finite exactly if every gradient is, so one pass serves the check, clipping and the log.
        grad_norm = ops.sqrt(ops.addn(_for_each(_square_sum, gradients)))
        unscale = 1.0 / (self.scale * self.accumulation_steps)
        finite = ops.isfinite(grad_norm)
        if self.all_finite is not None:
            finite = ops.logical_and(finite, self.all_finite(gradients))
        if self.sum_over_ranks is not None:
            # The record of overflows belongs to one chip, and all ranks have to leave out the same steps.
            overflow = 1.0 - finite.astype(ms.float32).reshape(1)
            overflow, stop = ops.split(self.sum_over_ranks(ops.concat((overflow, stop))), 1)
            finite = overflow.reshape(()) < 0.5
        if finite:
            factor = unscale
            if self.clip_norm > 0:
                factor = factor * ops.minimum(1.0, self.clip_norm / (grad_norm * unscale + 1e-12))
            updates = ops.cast(self.optimizer.global_step, ms.float32).reshape(())
            self.optimizer(_for_each(ops.partial(_multiply, factor), gradients))
            if self.ema_decay > 0:
                rate = 1 - averaging_decay(self.ema_decay, updates)
                _for_each(ops.partial(_move_towards, rate), self.averages, self.weights)
            _for_each(ops.assign, self.good_statistics, self.statistics)
            self._after_good_step()
        else:
            _for_each(ops.assign, self.statistics, self.good_statistics)
            self._after_overflow()
        if self.accumulation_steps > 1:
            _for_each(ops.assign, self.sums, _for_each(ops.zeros_like, self.sums))
        return losses, grad_norm * unscale, self.skipped_in_row + 0, stop + 0

    def _after_good_step(self):
        ops.assign(self.skipped_in_row, Tensor(0, ms.int32))
        if self.dynamic_loss_scale:
            good = self.good_in_row + 1
            ops.assign(self.scale, ops.where(good >= GROWTH_INTERVAL, self.scale * 2, self.scale))
            ops.assign(self.good_in_row, ops.where(good >= GROWTH_INTERVAL, 0, good))

    def _after_overflow(self):
        ops.assign_add(self.skipped_in_row, Tensor(1, ms.int32))
        if self.dynamic_loss_scale:
            ops.assign(self.scale, ops.maximum(self.scale / 2, 1.0))
            ops.assign(self.good_in_row, Tensor(0, ms.int32))
