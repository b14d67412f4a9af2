"""Gaussian error linear unit, exact (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""

import math
from typing import Any

from minivivit.backend import Array, array_namespace, floating_namespace, one_kernel, special_functions


def gelu_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    r"""Weigh x by the probability that a standard normal number is below it.

    .. math:: y = x \, \Phi(x), \qquad \Phi(x) = \frac12 \left(1 + \mathrm{erf}\frac{x}{\sqrt 2}\right)

    Parameters
    ----------
    x : array
    out : array of the shape of x, optional
        Receives the result; not x itself.
    """
    xp = floating_namespace(x, "x")
    cumulative, y = xp.empty_like(x), xp.empty_like(x) if out is None else out
    one_kernel(_gelu, (y, cumulative), (x,))
    return y, {"x": x, "cumulative": cumulative}


def _gelu(xp: Any, y: Array, cumulative: Array, x: Array) -> None:
    """Write y and its weight."""
    xp.multiply(x, 1 / math.sqrt(2), out=cumulative)  # built up in one buffer
    special_functions(xp).erf(cumulative, out=cumulative)
    cumulative += 1
    cumulative *= 0.5
    xp.multiply(x, cumulative, out=y)


def gelu_backward(dy: Array, cache: dict) -> Array:
    r"""Gradient of `gelu_forward`.

    The derivative of :math:`\Phi` is the normal density :math:`\varphi`, so by the product rule

    .. math:: dx = dy \left(\Phi(x) + x \varphi(x)\right), \qquad \varphi(x) = \frac{e^{-x^2/2}}{\sqrt{2\pi}}
    """
    x, cumulative = cache["x"], cache["cumulative"]
    dx = array_namespace(x).empty_like(x)
    one_kernel(_gelu_gradient, (dx,), (dy, x, cumulative))
    return dx


def _gelu_gradient(xp: Any, dx: Array, dy: Array, x: Array, cumulative: Array) -> None:
    """Write dx."""
    density = xp.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    xp.multiply(dy, cumulative + x * density, out=dx)
