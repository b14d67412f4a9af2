"""Hyperbolic tangent."""

from minivivit.backend import Array, floating_namespace


def tanh_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    r""":math:`y = \tanh x = (e^x - e^{-x}) / (e^x + e^{-x})`, entry by entry. `out` may receive the result."""
    xp = floating_namespace(x, "x")
    y = xp.tanh(x, out=out)
    return y, {"y": y}


def tanh_backward(dy: Array, cache: dict) -> Array:
    r"""By the quotient rule :math:`\tanh' x = 1 - \tanh^2 x`, so :math:`dx = dy (1 - y^2)`."""
    y = cache["y"]
    return dy * (1 - y * y)
