"""Sigmoid linear unit, also called swish: silu(x) = x sigmoid(x)."""

from minivivit.backend import Array, floating_namespace
from minivivit.ops.sigmoid import sigmoid


def silu_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    r""":math:`y = x \, s(x)` with the logistic function s (`minivivit.ops.sigmoid`). `out` may receive the result."""
    xp = floating_namespace(x, "x")
    return xp.multiply(x, sigmoid(x), out=out), {"x": x}


def silu_backward(dy: Array, cache: dict) -> Array:
    r"""The product rule, with s' = s (1 - s): :math:`dx = dy \, s (1 + x (1 - s))`."""
    x = cache["x"]
    gate = sigmoid(x)
    return dy * gate * (1 + x * (1 - gate))
