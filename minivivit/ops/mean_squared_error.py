"""Mean squared error, for regression."""

from minivivit.backend import Array, floating_namespace


def mean_squared_error_forward(predictions: Array, targets: Array) -> tuple[Array, dict]:
    r"""Mean over all N entries of the squared difference: :math:`L = \frac1N \sum_i (x_i - t_i)^2`.

    Parameters
    ----------
    predictions, targets : arrays of the same shape

    Returns
    -------
    loss : scalar of the dtype of the predictions
    cache : dict
    """
    floating_namespace(predictions, "predictions")
    difference = predictions - targets
    return (difference * difference).mean(), {"difference": difference}


def mean_squared_error_backward(dloss: Array | float, cache: dict) -> Array:
    r"""The derivative of a square: :math:`dx_i = dL \cdot \frac2N (x_i - t_i)`."""
    difference = cache["difference"]
    return difference * (2 * dloss / difference.size)
