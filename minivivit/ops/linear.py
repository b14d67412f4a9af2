"""Linear map: y = x W^T + b."""

from minivivit.backend import Array, floating_namespace, parallel_matmul


def linear_forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, dict]:
    r"""Multiply the last axis by a matrix, and shift.

    .. math:: y_{ij} = \sum_k x_{ik} W_{jk} + b_j, \qquad y = x W^\top + b

    Parameters
    ----------
    x : array, shape (..., inputs)
    weight : array, shape (outputs, inputs)
        Outputs first, as PyTorch and the published checkpoint store it.
    bias : array, shape (outputs,), optional

    Returns
    -------
    y : array, shape (..., outputs)
    cache : dict
    """
    floating_namespace(weight, "weight")
    rows = x.reshape(-1, x.shape[-1])  # (rows, inputs): one large product instead of many small ones
    y = parallel_matmul(rows, weight.T)  # rows @ weight.T, on several threads: (rows, outputs)
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], weight.shape[0]), {"x": x, "weight": weight, "has_bias": bias is not None}


def linear_backward(dy: Array, cache: dict) -> tuple[Array, Array, Array | None]:
    r"""Gradients of `linear_forward`.

    Write the chain rule for one entry of each input. Every x_ik reaches the loss through the row y_i, every W_jk
    through the column y_j, and b_j is added to every row:

    .. math::
        \frac{\partial L}{\partial x_{ik}} = \sum_j dy_{ij} W_{jk}, \qquad
        \frac{\partial L}{\partial W_{jk}} = \sum_i dy_{ij} x_{ik}, \qquad
        \frac{\partial L}{\partial b_j} = \sum_i dy_{ij}

    that is, dx = dy W, dW = dy^T x and db the sum of dy over its rows.

    Returns
    -------
    dx, dweight, dbias : arrays of the shapes of x, weight and bias; dbias is None where there was no bias
    """
    x, weight = cache["x"], cache["weight"]
    dy_rows = dy.reshape(-1, dy.shape[-1])  # (rows, outputs)
    x_rows = x.reshape(-1, x.shape[-1])  # (rows, inputs)
    dx = parallel_matmul(dy_rows, weight).reshape(x.shape)
    dweight = parallel_matmul(dy_rows.T, x_rows)  # (outputs, inputs)
    dbias = dy_rows.sum(axis=0) if cache["has_bias"] else None
    return dx, dweight, dbias
