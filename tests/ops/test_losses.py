"""The three losses: by hand, against scipy, at extremes."""

import math

import numpy
import pytest
from scipy import special

from minivivit.ops.binary_cross_entropy import binary_cross_entropy_backward, binary_cross_entropy_forward
from minivivit.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minivivit.ops.mean_squared_error import mean_squared_error_backward, mean_squared_error_forward
from minivivit.training.regularisation.label_smoothing import one_hot, smooth_labels


def test_cross_entropy_by_hand():
    logits = numpy.log(numpy.array([[1.0, 3.0], [4.0, 1.0]]))
    loss, cache = cross_entropy_forward(logits, numpy.array([1, 1]))
    assert loss == pytest.approx(-(math.log(3 / 4) + math.log(1 / 5)) / 2, rel=1e-15)
    numpy.testing.assert_allclose(cross_entropy_backward(1.0, cache), [[1 / 8, -1 / 8], [4 / 10, -4 / 10]], rtol=1e-14)
    numpy.testing.assert_allclose(cross_entropy_backward(3.0, cache)[0], [3 / 8, -3 / 8], rtol=1e-14)


def test_cross_entropy_against_scipy():
    rng = numpy.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, size=6)
    log_probs = special.log_softmax(logits, axis=-1)
    assert cross_entropy_forward(logits, labels)[0] == pytest.approx(-log_probs[range(6), labels].mean(), rel=1e-14)
    smoothed = smooth_labels(one_hot(labels, 5, "float64"), 0.3)
    expected = -(smoothed * log_probs).sum() / 6
    assert cross_entropy_forward(logits, labels, 0.3)[0] == pytest.approx(expected, rel=1e-14)
    assert cross_entropy_forward(logits, smoothed)[0] == pytest.approx(expected, rel=1e-14)
    soft = rng.dirichlet(numpy.ones(5), size=6)
    both = -(smooth_labels(soft, 0.1) * log_probs).sum() / 6
    assert cross_entropy_forward(logits, soft, 0.1)[0] == pytest.approx(both, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_at_extremes(dtype):
    logits = numpy.array([[1e4, 0, -1e4], [-3e4, -3e4, -3e4]], dtype=dtype)
    for labels, expected in (([0, 1], [0, math.log(3)]), ([1, 1], [1e4, math.log(3)]), ([2, 0], [2e4, math.log(3)])):
        loss, cache = cross_entropy_forward(logits, numpy.array(labels))
        assert loss == pytest.approx(sum(expected) / 2, rel=1e-6)
        assert loss.dtype == dtype
        gradient = cross_entropy_backward(1.0, cache)
        assert numpy.isfinite(gradient).all()
        numpy.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-7)


def test_binary_cross_entropy_by_hand():
    # sigmoid(log 3) = 3/4
    logits = numpy.array([[math.log(3), -math.log(3)]])
    loss, cache = binary_cross_entropy_forward(logits, numpy.array([[1.0, 1.0]]))
    assert loss == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2, rel=1e-15)
    numpy.testing.assert_allclose(binary_cross_entropy_backward(2.0, cache), [[-1 / 4, -3 / 4]], rtol=1e-14)


def test_binary_cross_entropy_against_scipy():
    rng = numpy.random.default_rng(1)
    logits, targets = 3 * rng.normal(size=(4, 5)), rng.random((4, 5))
    expected = -(targets * special.log_expit(logits) + (1 - targets) * special.log_expit(-logits)).mean()
    assert binary_cross_entropy_forward(logits, targets)[0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_at_extremes(dtype):
    logits = numpy.array([1e4, 1e4, -1e4, -1e4], dtype=dtype)
    targets = numpy.array([1, 0, 0, 1], dtype=dtype)
    loss, cache = binary_cross_entropy_forward(logits, targets)
    assert loss == pytest.approx(2e4 / 4, rel=1e-6)
    assert binary_cross_entropy_backward(1.0, cache).tolist() == [0, 0.25, 0, -0.25]


def test_mean_squared_error_by_hand():
    loss, cache = mean_squared_error_forward(numpy.array([[1.0, 2.0]]), numpy.array([[0.0, 5.0]]))
    assert loss == 5
    assert mean_squared_error_backward(1.0, cache).tolist() == [[1, -3]]
    assert mean_squared_error_backward(4.0, cache).tolist() == [[4, -12]]


def test_a_label_of_minus_100_does_not_count():
    rng = numpy.random.default_rng(3)
    logits = rng.standard_normal((4, 5))
    labels = numpy.array([1, -100, 4, -100])
    loss, cache = cross_entropy_forward(logits, labels, 0.1)
    expected, expected_cache = cross_entropy_forward(logits[[0, 2]], labels[[0, 2]], 0.1)
    assert loss == pytest.approx(expected, rel=1e-14)
    dlogits = cross_entropy_backward(1.0, cache)
    numpy.testing.assert_allclose(dlogits[[0, 2]], cross_entropy_backward(1.0, expected_cache), rtol=1e-14)
    assert not dlogits[[1, 3]].any()
