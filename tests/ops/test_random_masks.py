"""Dropout and stochastic depth: by hand, and the statistics of their masks."""

import math

import numpy
import pytest

from minivivit.ops.dropout import dropout_backward, dropout_forward, dropout_mask
from minivivit.ops.stochastic_depth import (
    layer_drop_rate,
    stochastic_depth_backward,
    stochastic_depth_forward,
    stochastic_depth_mask,
)

RATES = [0.1, 0.5, 0.8]


def test_dropout_by_hand():
    y, cache = dropout_forward(numpy.array([1.0, 2.0, 3.0]), numpy.array([True, False, True]), 0.75)
    assert y.tolist() == [4, 0, 12]
    assert dropout_backward(numpy.array([1.0, 1.0, 2.0]), cache).tolist() == [4, 0, 8]


@pytest.mark.parametrize("rate", RATES)
def test_dropout_keeps_its_share_and_the_mean(rate):
    keep = dropout_mask(numpy.random.default_rng(0), (100, 50, 40), rate)
    error = math.sqrt(rate * (1 - rate) / keep.size)
    assert abs(keep.mean() - (1 - rate)) < 5 * error
    for axis in range(3):
        means = keep.mean(axis=tuple(other for other in range(3) if other != axis))
        assert abs(means - (1 - rate)).max() < 5 * error * math.sqrt(keep.shape[axis])
    y, _ = dropout_forward(numpy.ones(keep.shape), keep, rate)
    assert abs(y.mean() - 1) < 5 * error / (1 - rate)


@pytest.mark.parametrize("rate", RATES)
def test_stochastic_depth_draws_once_a_sample(rate):
    keep = stochastic_depth_mask(numpy.random.default_rng(1), 20000, 3, rate)
    assert keep.shape == (20000, 1, 1)
    assert keep.dtype == bool
    assert abs(keep.mean() - (1 - rate)) < 5 * math.sqrt(rate * (1 - rate) / 20000)


def test_stochastic_depth_does_not_divide_by_the_keep_probability():
    branch = numpy.arange(1.0, 9.0).reshape(2, 2, 2)
    y, cache = stochastic_depth_forward(branch, numpy.array([False, True]).reshape(2, 1, 1))
    assert not y[0].any()
    assert (y[1] == branch[1]).all()
    dbranch = stochastic_depth_backward(branch, cache)
    assert not dbranch[0].any()
    assert (dbranch[1] == branch[1]).all()


def test_the_drop_rate_grows_linearly_from_zero():
    assert [layer_drop_rate(layer, 5, 0.2) for layer in range(5)] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert layer_drop_rate(0, 1, 0.2) == 0
