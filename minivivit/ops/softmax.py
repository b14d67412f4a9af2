"""Softmax over the last axis."""

from minivivit.backend import Array, floating_namespace


def softmax_forward(x: Array) -> tuple[Array, dict]:
    r"""Turn scores into probabilities.

    .. math:: y_j = \frac{e^{x_j - m}}{\sum_k e^{x_k - m}}, \qquad m = \max_k x_k

    Subtracting the maximum changes nothing in exact arithmetic (it cancels) and keeps exp from overflowing. A score of
    -inf has probability 0; a row of nothing else, or with one of +inf, has no softmax and becomes NaN.

    Parameters
    ----------
    x : array, shape (..., n)

    Returns
    -------
    y : array, shape (..., n); every row sums to 1
    cache : dict
    """
    xp = floating_namespace(x, "x")
    y = x - x.max(axis=-1, keepdims=True)
    xp.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y, {"y": y}


def softmax_backward(dy: Array, cache: dict) -> Array:
    r"""Gradient of `softmax_forward`.

    .. math::
        \frac{\partial y_j}{\partial x_k} = y_j (\delta_{jk} - y_k)
        \quad\Rightarrow\quad
        dx_k = y_k \left(dy_k - \sum_j dy_j y_j\right)

    The row of dx sums to 0: adding the same number to all scores of a row changes no probability. This is why the
    bias of a key projection, which does just that, has gradient 0.
    """
    y = cache["y"]
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))
