"""Learning-rate schedules."""

import math

import pytest

from minivivit.errors import InputError
from minivivit.training.optimisers.schedules import cosine_decay, learning_rate, linear_warmup


def test_constant():
    assert [learning_rate(step, base_learning_rate=0.3, factors="constant") for step in (0, 7, 10**6)] == [0.3] * 3


def test_linear_warmup():
    assert [linear_warmup(step, 4) for step in range(7)] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert [linear_warmup(step, 4, warmup_alpha=0.2) for step in (0, 2, 4, 5)] == pytest.approx([0.2, 0.6, 1, 1])
    assert linear_warmup(0, 0) == 1


def test_cosine_decay():
    assert cosine_decay(0, 100) == 1
    assert cosine_decay(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert cosine_decay(50, 100) == pytest.approx(0.5)
    assert cosine_decay(50, 100, alpha=0.2) == pytest.approx(0.6)
    assert 0 < cosine_decay(99, 100) < 3e-4
    assert cosine_decay(100, 100) == 1  # the next cycle
    rates = [cosine_decay(step, 100) for step in range(100)]
    assert rates == sorted(rates, reverse=True)


def test_scenics_compound_of_the_kinetics_config():
    """As scenic's compound_lr_scheduler computes it: the cosine starts where the warm-up ends."""
    settings = {"base_learning_rate": 0.1, "warmup_steps": 25, "steps_per_cycle": 300}

    def rate(step):
        return learning_rate(step, factors="constant * cosine_decay * linear_warmup", **settings)

    assert rate(0) == 0
    assert rate(5) == pytest.approx(0.1 * 5 / 25)
    assert rate(25) == pytest.approx(0.1)
    assert rate(25 + 55) == pytest.approx(0.1 * (1 + math.cos(math.pi / 5)) / 2)
    assert rate(299) == pytest.approx(0.1 * (1 + math.cos(math.pi * 274 / 275)) / 2)
    assert rate(300) == pytest.approx(0.1)  # restart


def test_a_cycle_pays_its_share_of_the_warmup():
    settings = {"base_learning_rate": 1.0, "warmup_steps": 20, "steps_per_cycle": 50, "total_steps": 100}
    assert learning_rate(20 + 20, **settings) == pytest.approx(0.5)  # cycles of 50 - 20 / 2 = 40 steps
    assert learning_rate(20 + 40, **settings) == pytest.approx(1.0)


def test_default_is_the_compound_over_the_whole_training():
    assert learning_rate(50, base_learning_rate=2.0, total_steps=100) == pytest.approx(1.0)
    assert learning_rate(5, base_learning_rate=2.0, warmup_steps=10, total_steps=10) == 1.0  # nothing left to decay


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": "constant * rsqrt"}, "unknown factor 'rsqrt'"),
        ({"factors": ""}, "unknown factor ''"),
        ({}, "total_steps"),
        ({"total_steps": 0}, "total_steps"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(InputError, match=message):
        learning_rate(0, base_learning_rate=1.0, **settings)
    with pytest.raises(InputError, match="step is -1"):
        learning_rate(-1, base_learning_rate=1.0, total_steps=3)
    with pytest.raises(InputError, match="steps_per_cycle"):
        cosine_decay(0, 0)
