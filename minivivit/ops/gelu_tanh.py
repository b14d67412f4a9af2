"""The tanh approximation of GELU, which ViViT was trained with (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""

import math
from typing import Any

from minivivit.backend import Array, array_namespace, floating_namespace, one_kernel

# sqrt(2 / pi). transformers' "gelu_fast" cuts it after ten digits, which shows at 1e-12; "gelu_new",
# "gelu_pytorch_tanh" and scenic (jax.nn.gelu) have it in full.
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
SQRT_2_OVER_PI_CUT = 0.7978845608
CUBIC = 0.044715


def gelu_tanh_forward(x: Array, out: Array | None = None, slope: float = SQRT_2_OVER_PI) -> tuple[Array, dict]:
    r"""Approximate :math:`x \Phi(x)` without erf.

    .. math:: y = \frac{x}{2} \left(1 + \tanh u\right), \qquad u = c \left(x + 0.044715\, x^3\right)

    Parameters
    ----------
    x : array
    out : array of the shape of x, optional
        Receives the result; not x itself.
    slope : float
        The constant c, sqrt(2 / pi) or its ten digits.
    """
    xp = floating_namespace(x, "x")
    tanh, y = xp.empty_like(x), xp.empty_like(x) if out is None else out
    one_kernel(_gelu_tanh, (y, tanh), (x,), slope=slope)
    return y, {"x": x, "tanh": tanh, "slope": slope}


def _gelu_tanh(xp: Any, y: Array, tanh: Array, x: Array, slope: float) -> None:
    """Write y and tanh u."""
    xp.multiply(x, x, out=tanh)  # built up in one buffer: u, tanh u
    tanh *= CUBIC * slope
    tanh += slope
    tanh *= x
    xp.tanh(tanh, out=tanh)
    xp.add(tanh, 1, out=y)
    y *= x
    y *= 0.5


def gelu_tanh_backward(dy: Array, cache: dict) -> Array:
    r"""Gradient of `gelu_tanh_forward`.

    With t = tanh u, the product rule and t' = (1 - t^2) u' give

    .. math::
        dx = dy \cdot \frac12 \left(1 + t + x (1 - t^2) u'\right), \qquad
        u' = c \left(1 + 3 \cdot 0.044715\, x^2\right)
    """
    x, tanh, slope = cache["x"], cache["tanh"], cache["slope"]
    dx = array_namespace(x).empty_like(x)
    one_kernel(_gelu_tanh_gradient, (dx,), (dy, x, tanh), slope=slope)
    return dx


def _gelu_tanh_gradient(xp: Any, dx: Array, dy: Array, x: Array, tanh: Array, slope: float) -> None:
    """Write dx = dy (1 + t) (1 + x (1 - t) u') / 2, since 1 - t^2 = (1 - t)(1 + t)."""
    xp.multiply(x, x, out=dx)  # built up in one buffer, too
    dx *= 3 * CUBIC * slope
    dx += slope
    dx *= x
    dx *= 1 - tanh
    dx += 1
    dx *= 1 + tanh
    dx *= 0.5
    dx *= dy


def gelu_fast_forward(x: Array, out: Array | None = None) -> tuple[Array, dict]:
    """`gelu_tanh_forward` with the constant cut after ten digits: ``gelu_fast``, which the published checkpoint has."""
    return gelu_tanh_forward(x, out, SQRT_2_OVER_PI_CUT)


def gelu_fast_backward(dy: Array, cache: dict) -> Array:
    """Gradient of `gelu_fast_forward`; the constant is in the cache."""
    return gelu_tanh_backward(dy, cache)
