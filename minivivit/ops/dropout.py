"""Dropout (Srivastava et al. 2014), inverted: what is kept is scaled up, so that evaluation needs no change."""

import numpy

from minivivit.backend import Array, floating_namespace


def dropout_mask(rng: numpy.random.Generator, shape: tuple[int, ...], rate: float) -> numpy.ndarray:
    """Draw which entries to keep: boolean, each True with probability 1 - `rate`.

    Drawn on the CPU whatever the model's device, so that one seed gives one mask everywhere.
    """
    return rng.random(shape, dtype=numpy.float32) >= rate


def dropout_forward(x: Array, keep: Array, rate: float) -> tuple[Array, dict]:
    r"""Zero what is not kept: :math:`y = x \, k / (1 - p)`, with k the mask of 0 and 1 and p the rate.

    The mask is an argument, so this is an ordinary function with an ordinary gradient. Since E[k] = 1 - p, the mean of
    y over masks is x.
    """
    floating_namespace(x, "x")
    scale = x.dtype.type(1 / (1 - rate))
    return x * keep * scale, {"keep": keep, "scale": scale}


def dropout_backward(dy: Array, cache: dict) -> Array:
    r"""y is x times a constant, so dx is dy times the same: :math:`dx = dy \, k / (1 - p)`."""
    return dy * cache["keep"] * cache["scale"]
