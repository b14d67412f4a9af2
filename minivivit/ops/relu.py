"""Rectified linear unit: relu(x) = max(x, 0)."""

from minivivit.backend import Array, floating_namespace


def relu_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    r"""The positive part, :math:`y = \max(x, 0)`, entry by entry. `out` may receive the result."""
    xp = floating_namespace(x, "x")
    return xp.maximum(x, 0, out=out), {"x": x}


def relu_backward(dy: Array, cache: dict) -> Array:
    r"""The slope is 1 where x > 0 and 0 elsewhere (at 0 too, as in PyTorch): :math:`dx = dy \,[x > 0]`."""
    return dy * (cache["x"] > 0)
