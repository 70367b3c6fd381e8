"""Rates from settings; the curves themselves are compared with the old zoo's in tests/ssd/test_golden_ssd300.py."""
import numpy as np
import pytest

from src.models import FAMILIES, config_class
from src.ops.schedule import scaled_to_batch, warmup_cosine
from src.ssd.config import SSDOptimizer


def settings(**changed):
    return SSDOptimizer(**{"lr": 0.1, "lr_init": 0.02, "lr_end_rate": 0.5, "warmup_epochs": 1.0, **changed})


def test_linear_warmup_then_half_a_cosine():
    rates = warmup_cosine(lr=1.0, lr_init=0.2, lr_end=0.0, warmup_steps=4, total_steps=8)
    assert rates.dtype == np.float32
    np.testing.assert_allclose(rates, [0.2, 0.4, 0.6, 0.8, 1, (1 + 0.5 ** 0.5) / 2, 0.5, (1 - 0.5 ** 0.5) / 2],
                               atol=1e-7)


def test_one_rate_for_every_step_of_the_run():
    rates = settings().learning_rates(epochs=3, steps_per_epoch=5, global_batch=8)
    assert len(rates) == 15
    np.testing.assert_allclose(rates[[0, 5]], [0.02, 0.1], rtol=1e-6)  # lr_init; lr after one epoch
    assert 0.05 < rates[-1] < 0.055                                    # towards lr_end_rate * lr
    assert (np.diff(rates[5:]) < 0).all()


@pytest.mark.parametrize("batch, base, rate", [(8, None, 0.1), (8, 32, 0.025), (64, 32, 0.2)])
def test_the_rate_is_scaled_to_the_batch(batch, base, rate):
    assert scaled_to_batch(0.1, batch, base) == pytest.approx(rate)
    rates = settings(base_batch_size=base).learning_rates(epochs=2, steps_per_epoch=4, global_batch=batch)
    assert rates.max() == pytest.approx(rate)


def test_a_scaled_rate_below_lr_init_starts_no_higher_than_it_is_meant_to_be():
    rates = settings(base_batch_size=64).learning_rates(epochs=2, steps_per_epoch=4, global_batch=8)  # lr 0.0125
    assert rates.max() == pytest.approx(0.0125)


@pytest.mark.parametrize("warmup", [0, 2, 5])
def test_a_warmup_of_no_time_or_longer_than_the_run(warmup):
    rates = settings(warmup_epochs=warmup).learning_rates(epochs=2, steps_per_epoch=4, global_batch=8)
    assert len(rates) == 8 and np.isfinite(rates).all() and (rates >= 0.02 - 1e-9).all() and (rates <= 0.1 + 1e-9).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_rate_for_every_step(family):
    rates = config_class(family).model_fields["optimizer"].annotation().learning_rates(3, 5, global_batch=16)
    assert rates.shape == (15,) and rates.dtype == np.float32 and (rates >= 0).all() and rates.any()
