"""The logistic function, a part of other operators."""

from minivivit.backend import Array, array_namespace


def sigmoid(x: Array) -> Array:
    r""":math:`s(x) = 1 / (1 + e^{-x})`, for negative x as :math:`e^x / (1 + e^x)`.

    Either way the exponential has an argument of at most 0: it cannot overflow, and a tiny result keeps its digits.
    """
    xp = array_namespace(x)
    decayed = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1, decayed) / (1 + decayed)
