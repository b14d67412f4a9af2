"""Layer normalisation (Ba et al. 2016, arXiv:1607.06450)."""

from functools import partial
from typing import Any

import numpy

from minivivit.backend import (
    Array,
    array_namespace,
    column_dots,
    floating_namespace,
    is_gpu,
    one_kernel,
    parallel_blocks,
    row_blocks,
    row_dots,
)

# Entries that a task works on at once. As float32 they take 1 MB, and the next pass finds them in cache. With fewer,
# threads would wait for each other: between two passes each is back in Python, where one runs at a time.
BLOCK_ENTRIES = 1 << 18


def layer_norm_forward(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, dict]:
    r"""Give every row mean 0 and variance 1, then scale and shift each feature.

    .. math::
        \mu = \frac1n \sum_k x_k, \quad \sigma^2 = \frac1n \sum_k (x_k - \mu)^2, \quad
        \hat x_k = \frac{x_k - \mu}{\sqrt{\sigma^2 + \epsilon}}, \quad y_k = w_k \hat x_k + b_k

    The square of a number above 1.8e19 overflows in float32: the variance becomes infinite and every feature 0, which
    nobody would notice. A row c x has the same :math:`\hat x` as x, but for eps; so such a row is divided by its
    largest entry first.

    Parameters
    ----------
    x : array, shape (..., features)
    weight, bias : arrays, shape (features,)
    eps : float
        Keeps the root away from 0.

    Returns
    -------
    y : array, shape (..., features)
    cache : dict
    """
    xp = floating_namespace(x, "x")
    x_rows = x.reshape(-1, x.shape[-1])  # (rows, features)
    if is_gpu(xp) and x.dtype == numpy.float32:
        y, mean, inverse_std = _forward_in_double(x_rows, weight, bias, eps)
        return y.reshape(x.shape), {"x": x, "weight": weight, "mean": mean, "inverse_std": inverse_std}
    y = xp.empty_like(x_rows)
    mean = xp.empty((len(x_rows), 1), dtype=x.dtype)
    inverse_std = xp.empty((len(x_rows), 1), dtype=x.dtype)

    def normalise(rows: slice) -> None:
        with numpy.errstate(over="ignore", invalid="ignore"):
            mean[rows] = x_rows[rows].mean(axis=-1, keepdims=True)
            centred = xp.subtract(x_rows[rows], mean[rows], out=y[rows])
            variance = _variance(centred)
        one_kernel(_inverse_root, (inverse_std[rows],), (variance,), eps=eps)
        factor = inverse_std[rows]
        if not bool(xp.isfinite(variance).all()):
            factor = _shrink_huge(x_rows[rows], variance, eps, mean[rows], inverse_std[rows], centred, xp)
        one_kernel(_scale_and_shift, (centred,), (centred, factor, weight, bias))

    parallel_blocks([partial(normalise, rows) for rows in _blocks(x_rows, xp)], xp)
    return y.reshape(x.shape), {"x": x, "weight": weight, "mean": mean, "inverse_std": inverse_std}


def _forward_in_double(x_rows: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """The same on a GPU, whose float64 no number of a float32 overflows: y, and in float64 mean and inverse_std.

    To look whether a variance is infinite, the processor would have to wait for it, and the GPU then for the processor.
    """
    xp = array_namespace(x_rows)
    mean = x_rows.mean(axis=-1, dtype="float64", keepdims=True)
    centred = x_rows - mean
    variance, inverse_std, y = _variance(centred), xp.empty_like(mean), xp.empty_like(x_rows)
    one_kernel(_inverse_root, (inverse_std,), (variance,), eps=eps)
    one_kernel(_scale_and_shift, (y,), (centred, inverse_std, weight, bias))
    return y, mean, inverse_std


def _variance(centred: Array) -> Array:
    """The mean square of each row, (rows, 1), without an array of the squares."""
    return row_dots(centred, centred)[:, None] / centred.shape[-1]


def _inverse_root(xp: Any, inverse_std: Array, variance: Array, eps: float) -> None:
    xp.add(variance, eps, out=inverse_std)
    xp.sqrt(inverse_std, out=inverse_std)
    xp.divide(1.0, inverse_std, out=inverse_std)


def _scale_and_shift(xp: Any, y: Array, centred: Array, inverse_std: Array, weight: Array, bias: Array) -> None:
    """Of centred rows make normalised ones, and of them y."""
    xp.multiply(centred, inverse_std, out=y)
    y *= weight
    y += bias


def _shrink_huge(
    x_rows: Array, variance: Array, eps: float, mean: Array, inverse_std: Array, centred: Array, xp: Any
) -> Array:
    """Of rows with an infinite variance write mean and inverse_std as they are in truth, and the centred rows divided.

    Returns what makes those normalised: the inverse_std of the divided rows. The divisor of other rows is 1.
    """
    divisor = xp.where(xp.isfinite(variance), 1, xp.abs(x_rows).max(axis=-1, keepdims=True))  # (rows, 1)
    shrunk = x_rows / divisor
    mean[...] = shrunk.mean(axis=-1, keepdims=True)
    centred[...] = shrunk - mean
    # eps shrinks too, but not to 0, by which a constant row would be divided
    smaller_eps = xp.maximum(eps / divisor / divisor, numpy.finfo(x_rows.dtype).tiny)
    factor = 1.0 / xp.sqrt(_variance(centred) + smaller_eps)
    mean *= divisor
    xp.divide(factor, divisor, out=inverse_std)
    return factor


def layer_norm_backward(dy: Array, cache: dict) -> tuple[Array, Array, Array]:
    r"""Gradients of `layer_norm_forward`.

    Scale and shift are a linear map of the normalised row: dw and db sum over the rows, and :math:`d\hat x = w \, dy`.
    Then :math:`\hat x` depends on x three times, directly, through the mean and through the variance. With
    s = 1 / sqrt(variance + eps),

    .. math::
        \frac{\partial \hat x_j}{\partial x_k} = s \left(\delta_{jk} - \frac1n - \frac{\hat x_j \hat x_k}{n}\right)
        \quad\Rightarrow\quad
        dx_k = s \left(d\hat x_k - \frac1n \sum_j d\hat x_j - \hat x_k \frac1n \sum_j d\hat x_j \hat x_j \right)

    The two subtracted means say that moving a whole row changes nothing, nor does stretching it, but for eps.

    Returns
    -------
    dx, dweight, dbias : arrays of the shapes of x, weight and bias
    """
    x, weight = cache["x"], cache["weight"]
    xp = array_namespace(dy)
    features = x.shape[-1]
    x_rows, dy_rows = x.reshape(-1, features), dy.reshape(-1, features)
    dx = xp.empty_like(x_rows)
    blocks = _blocks(x_rows, xp)
    # Each block sums its own rows, and the sums are added in order at the end: the bits do not depend on scheduling.
    dweight_parts = xp.empty((len(blocks), features), dtype=x.dtype)
    dbias_parts = xp.empty((len(blocks), features), dtype=x.dtype)

    def differentiate(index: int, rows: slice) -> None:
        inverse_std = cache["inverse_std"][rows]
        normalised = xp.empty_like(x_rows[rows])
        one_kernel(_normalise, (normalised,), (x_rows[rows], cache["mean"][rows], inverse_std))
        dweight_parts[index] = column_dots(dy_rows[rows], normalised)
        dbias_parts[index] = dy_rows[rows].sum(axis=0)
        dnormalised = xp.multiply(dy_rows[rows], weight, out=dx[rows])
        stretch = row_dots(dnormalised, normalised)[:, None] / features
        shift = dnormalised.mean(axis=-1, keepdims=True)
        one_kernel(_leave_out, (dnormalised, normalised), (shift, stretch, inverse_std))

    parallel_blocks([partial(differentiate, index, rows) for index, rows in enumerate(blocks)], xp)
    return dx.reshape(x.shape), dweight_parts.sum(axis=0), dbias_parts.sum(axis=0)


def _normalise(xp: Any, normalised: Array, x: Array, mean: Array, inverse_std: Array) -> None:
    xp.subtract(x, mean, out=normalised)
    normalised *= inverse_std


def _leave_out(
    xp: Any, dnormalised: Array, normalised: Array, shift: Array, stretch: Array, inverse_std: Array
) -> None:
    """Of the gradient of the normalised rows make dx: without what moves or stretches a whole row."""
    dnormalised -= shift
    normalised *= stretch
    dnormalised -= normalised
    dnormalised *= inverse_std


def _blocks(x_rows: Array, xp: Any) -> list[slice]:
    """Rows of at most `BLOCK_ENTRIES` entries each."""
    return row_blocks(len(x_rows), max(1, BLOCK_ENTRIES // x_rows.shape[-1]), xp)
