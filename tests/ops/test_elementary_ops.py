"""Linear, layer norm, activations and softmax: by hand, against plain loops, and at extremes."""

import math
from statistics import NormalDist

import numpy
import pytest

from minivivit.ops.activation import ACTIVATIONS
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward
from minivivit.ops.linear import linear_backward, linear_forward
from minivivit.ops.sigmoid import sigmoid
from minivivit.ops.softmax import softmax_backward, softmax_forward


def test_linear_by_hand():
    x = numpy.array([[1.0, 2.0], [0.0, -1.0]])
    weight = numpy.array([[1.0, 0.0], [2.0, 3.0], [-1.0, 1.0]])
    y, cache = linear_forward(x, weight, numpy.array([10.0, 20.0, 30.0]))
    assert y.tolist() == [[11, 28, 31], [10, 17, 29]]
    dx, dweight, dbias = linear_backward(numpy.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]), cache)
    assert dx.tolist() == [[-1, 2], [2, 3]]
    assert dweight.tolist() == [[1, 2], [0, -1], [2, 4]]
    assert dbias.tolist() == [1, 1, 2]


def test_linear_against_loops():
    rng = numpy.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 3, 4)), rng.normal(size=(5, 4)), rng.normal(size=5)
    y, _ = linear_forward(x, weight, bias)
    for b, t, j in numpy.ndindex(2, 3, 5):
        expected = math.fsum(x[b, t, k] * weight[j, k] for k in range(4)) + bias[j]
        assert y[b, t, j] == pytest.approx(expected, rel=1e-13)
    without, cache = linear_forward(x, weight)
    numpy.testing.assert_allclose(without, y - bias, rtol=0, atol=1e-14)
    assert linear_backward(y, cache)[2] is None


def test_layer_norm_by_hand():
    # (1, 3, 5) has mean 3 and variance 8/3; eps 1/3 makes it 3
    y, cache = layer_norm_forward(
        numpy.array([[1.0, 3.0, 5.0]]), numpy.array([1.0, 5.0, 2.0]), numpy.array([0.0, 1.0, 0.0]), 1 / 3
    )
    root = math.sqrt(3)
    numpy.testing.assert_allclose(y, [[-2 / root, 1, 4 / root]], rtol=1e-15)
    # weight * dy is 1 everywhere: that would move the whole normalised row, which no change of x can do
    dx, dweight, dbias = layer_norm_backward(numpy.array([[1.0, 1 / 5, 1 / 2]]), cache)
    numpy.testing.assert_allclose(dx, 0, atol=1e-15)
    numpy.testing.assert_allclose(dweight, [-2 / root, 0, 1 / root], atol=1e-15)
    numpy.testing.assert_allclose(dbias, [1, 0.2, 0.5])


def test_layer_norm_of_many_rows_against_the_formula():
    """More rows than one block takes."""
    rng = numpy.random.default_rng(1)
    x = rng.normal(3, 2, size=(3, 301, 7))
    weight, bias = rng.normal(size=7), rng.normal(size=7)
    y, _ = layer_norm_forward(x, weight, bias, 1e-6)
    expected = (x - x.mean(-1, keepdims=True)) / numpy.sqrt(x.var(-1, keepdims=True) + 1e-6) * weight + bias
    numpy.testing.assert_allclose(y, expected, rtol=0, atol=1e-13)


def test_layer_norm_far_from_zero_and_of_a_constant_row():
    x = numpy.array([[1e6, 1e6 + 1, 1e6 + 2], [7.0, 7.0, 7.0]])
    y, _ = layer_norm_forward(x, numpy.ones(3), numpy.zeros(3), 1e-6)
    numpy.testing.assert_allclose(y[0], [-math.sqrt(1.5), 0, math.sqrt(1.5)], rtol=1e-6, atol=1e-9)
    assert y[1].tolist() == [0, 0, 0]


PHI = NormalDist().cdf
C = math.sqrt(2 / math.pi)
FORMULAS = {
    "gelu": lambda x: x * PHI(x),
    "gelu_fast": lambda x: 0.5 * x * (1 + math.tanh(x * 0.7978845608 * (1 + 0.044715 * x * x))),
    "gelu_new": lambda x: 0.5 * x * (1 + math.tanh(C * (x + 0.044715 * x**3))),
    "gelu_pytorch_tanh": lambda x: 0.5 * x * (1 + math.tanh(C * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_against_the_standard_library(name):
    x = numpy.concatenate([numpy.linspace(-6, 6, 121), [1e-9, -1e-9, 0.0]])
    y, _ = ACTIVATIONS[name][0](x)
    numpy.testing.assert_allclose(y, [FORMULAS[name](value) for value in x.tolist()], rtol=1e-12, atol=2e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_write_into_out(name):
    x = numpy.random.default_rng(0).normal(size=(3, 4))
    out = numpy.full_like(x, 99.0)
    y, _ = ACTIVATIONS[name][0](x, out=out)
    assert y is out
    assert (out == ACTIVATIONS[name][0](x)[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_extremes(name, dtype):
    """Far out they are 0 or x (or -1 and 1), and their slopes 0 or 1: nothing overflows, nothing is NaN."""
    x = numpy.array([-1e4, -200.0, 200.0, 1e4], dtype=dtype)
    forward, backward = ACTIVATIONS[name]
    y, cache = forward(x)
    expected = [-1, -1, 1, 1] if name == "tanh" else [0, 0, 200, 1e4]
    numpy.testing.assert_allclose(y, expected, atol=1e-30)
    slopes = [0, 0, 0, 0] if name == "tanh" else [0, 0, 1, 1]
    numpy.testing.assert_allclose(backward(numpy.ones_like(x), cache), slopes, atol=1e-30)


def test_gelu_fast_differs_from_gelu_new_by_its_cut_constant():
    x = numpy.linspace(-3, 3, 50)
    difference = abs(ACTIVATIONS["gelu_fast"][0](x)[0] - ACTIVATIONS["gelu_new"][0](x)[0]).max()
    assert 1e-13 < difference < 1e-11


def test_relu_has_no_slope_at_zero():
    forward, backward = ACTIVATIONS["relu"]
    _, cache = forward(numpy.zeros(2))
    assert backward(numpy.ones(2), cache).tolist() == [0, 0]


def test_sigmoid():
    numpy.testing.assert_allclose(
        sigmoid(numpy.array([-1e9, -2.0, 0.0, 2.0, 1e9])),
        [0, 1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-2)), 1],
        rtol=1e-15,
        atol=1e-17,
    )


def test_softmax_by_hand():
    y, cache = softmax_forward(numpy.log(numpy.array([[1.0, 2.0, 5.0]])))
    numpy.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8]], rtol=1e-15)
    dx = softmax_backward(numpy.array([[8.0, 0.0, 0.0]]), cache)
    numpy.testing.assert_allclose(dx, [[7 / 8, -2 / 8, -5 / 8]], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_at_extremes(dtype):
    lowest = numpy.finfo(dtype).min
    x = numpy.array([[1e30, 0, -1e30], [1e4, 1e4, -1e4], [lowest, lowest, 3], [-1e30, -1e30, -1e30]], dtype=dtype)
    y, cache = softmax_forward(x)
    numpy.testing.assert_allclose(y, [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [1 / 3] * 3], rtol=1e-6)
    assert numpy.isfinite(softmax_backward(numpy.ones_like(x), cache)).all()


def test_softmax_does_not_see_a_shift():
    x = numpy.random.default_rng(0).normal(size=(4, 6))
    numpy.testing.assert_allclose(softmax_forward(x + 100.0)[0], softmax_forward(x)[0], rtol=1e-13)
    _, cache = softmax_forward(x)
    numpy.testing.assert_allclose(softmax_backward(x, cache).sum(axis=-1), 0, atol=1e-15)


def test_a_tiny_sigmoid_keeps_its_digits():
    from minivivit.ops.sigmoid import sigmoid

    x = numpy.array([-80.0, -30.0, -17.0, 0.0, 17.0, 80.0], dtype=numpy.float32)
    numpy.testing.assert_allclose(sigmoid(x), 1 / (1 + numpy.exp(-x.astype(float))), rtol=1e-6)
