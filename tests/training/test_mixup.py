"""Mixup and labels as distributions."""

import numpy
import pytest

from minivivit.errors import InputError
from minivivit.training.regularisation.label_smoothing import one_hot, smooth_labels
from minivivit.training.regularisation.mixup import mixup


def batch(size=4, dtype="float32"):
    rng = numpy.random.default_rng(0)
    inputs = rng.standard_normal((size, 2, 3, 4, 5)).astype(dtype)
    return inputs, one_hot(numpy.arange(size) % 3, 3, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_weight_with_the_reversed_batch(dtype):
    inputs, targets = batch(dtype=dtype)
    kept = inputs.copy()
    weight = numpy.random.default_rng(7).beta(0.3, 0.3)
    mixed_inputs, mixed_targets = mixup(inputs, targets, numpy.random.default_rng(7), mixup_alpha=0.3)
    numpy.testing.assert_array_equal(inputs, kept)
    assert mixed_inputs.dtype == mixed_targets.dtype == dtype
    for i in range(4):
        numpy.testing.assert_allclose(
            mixed_inputs[i], weight * inputs[i] + (1 - weight) * inputs[3 - i], rtol=1e-5, atol=1e-6
        )
        numpy.testing.assert_allclose(mixed_targets[i], weight * targets[i] + (1 - weight) * targets[3 - i], rtol=1e-5)
    numpy.testing.assert_allclose(mixed_targets.sum(axis=1), 1, rtol=1e-6)


def test_alpha_zero_changes_nothing_and_draws_nothing():
    inputs, targets = batch()
    rng = numpy.random.default_rng(3)
    mixed_inputs, mixed_targets = mixup(inputs, targets, rng, mixup_alpha=0)
    assert mixed_inputs is inputs
    assert mixed_targets is targets
    assert rng.random() == numpy.random.default_rng(3).random()


def test_a_clip_mixed_with_itself_stays():
    inputs, targets = batch(size=3)
    mixed_inputs, mixed_targets = mixup(inputs, targets, numpy.random.default_rng(0))
    numpy.testing.assert_allclose(mixed_inputs[1], inputs[1], rtol=1e-5)
    numpy.testing.assert_allclose(mixed_targets[1], targets[1], rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.1, 1.0, 5.0])
def test_weights_are_beta_distributed(alpha):
    rng = numpy.random.default_rng(0)
    inputs, targets = numpy.array([[1.0], [0.0]]), numpy.array([[1.0, 0.0], [0.0, 1.0]])
    weights = numpy.array([mixup(inputs, targets, rng, alpha)[0][0, 0] for _ in range(4000)])
    assert abs(weights.mean() - 0.5) < 0.03
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_refused():
    inputs, targets = batch()
    rng = numpy.random.default_rng(0)
    with pytest.raises(InputError, match="one-hot"):
        mixup(inputs, numpy.arange(4), rng)
    with pytest.raises(InputError, match="expected"):
        mixup(inputs, targets[:3], rng)
    with pytest.raises(InputError, match="float"):
        mixup(inputs.astype("uint8"), targets, rng)
    for alpha in (-0.1, float("nan")):
        with pytest.raises(InputError, match="mixup_alpha"):
            mixup(inputs, targets, rng, alpha)


def test_one_hot():
    numpy.testing.assert_array_equal(one_hot(numpy.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    assert one_hot(numpy.array([2, 0]), 3).dtype == numpy.float32
    assert one_hot(numpy.array([2, 0]), 3, "float64").dtype == numpy.float64
    for labels in ([3], [-1]):
        with pytest.raises(InputError, match="expected 0 to 2"):
            one_hot(numpy.array(labels), 3)
    with pytest.raises(InputError, match="whole numbers"):
        one_hot(numpy.array([0.0]), 3)


def test_smooth_labels():
    targets = one_hot(numpy.array([1]), 4, "float64")
    numpy.testing.assert_allclose(smooth_labels(targets, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-15)
    numpy.testing.assert_array_equal(smooth_labels(targets, 0), targets)
    numpy.testing.assert_array_equal(smooth_labels(targets, 1), [[0.25] * 4])
    assert smooth_labels(one_hot(numpy.array([1]), 4), 0.1).dtype == numpy.float32
    with pytest.raises(InputError, match="label_smoothing"):
        smooth_labels(targets, 1.1)
