"""The logistic function, a part of other operators."""

from minivivit.backend import Array, array_namespace


def sigmoid(x: Array) -> Array:
    r""":math:`s(x) = 1 / (1 + e^{-x})`, computed as :math:`(1 + \tanh(x / 2)) / 2`, which cannot overflow."""
    xp = array_namespace(x)
    result = xp.tanh(x * 0.5)
    result += 1
    result *= 0.5
    return result
