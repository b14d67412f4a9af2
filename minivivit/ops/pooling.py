"""Pooling: from all tokens to the one vector that the head sees."""

from minivivit.backend import Array, array_namespace, floating_namespace


def pooling_forward(tokens: Array, method: str) -> tuple[Array, dict]:
    r"""Reduce the tokens of each sample to one vector.

    "token" takes the first, the CLS token, :math:`y = x_0`; "gap" the mean :math:`\frac1n\sum_i x_i`; "gmp" the maximum
    of each feature :math:`\max_i x_i`; "gsp" the sum :math:`\sum_i x_i`.

    Parameters
    ----------
    tokens : array, shape (batch, tokens, hidden)
    method : {"token", "gap", "gmp", "gsp"}

    Returns
    -------
    y : array, shape (batch, hidden)
    cache : dict

    References
    ----------
    scenic ``projects/vivit/model.py``: classifier token, gap, gmp, gsp.
    """
    floating_namespace(tokens, "tokens")
    if method == "token":
        y = tokens[:, 0]
    elif method == "gap":
        y = tokens.mean(axis=1)
    elif method == "gsp":
        y = tokens.sum(axis=1)
    else:
        y = tokens.max(axis=1)
    return y, {"shape": tokens.shape, "method": method, "tokens": tokens if method == "gmp" else None, "y": y}


def pooling_backward(dy: Array, cache: dict) -> Array:
    r"""Gradient of `pooling_forward`.

    The token that was taken gets dy and the others 0; of a mean each token gets dy / n, of a sum dy. Of a maximum the
    token that holds it gets dy; where m tokens tie, each gets dy / m, as in JAX.

    Returns
    -------
    dtokens : array, shape (batch, tokens, hidden)
    """
    xp = array_namespace(dy)
    shape, method = cache["shape"], cache["method"]
    if method == "token":
        dtokens = xp.zeros(shape, dtype=dy.dtype)
        dtokens[:, 0] = dy
        return dtokens
    if method == "gap":
        dy = dy / shape[1]
    if method in ("gap", "gsp"):
        return xp.broadcast_to(dy[:, None], shape).copy()
    is_maximum = (cache["tokens"] == cache["y"][:, None]).astype(dy.dtype)  # (batch, tokens, hidden)
    return dy[:, None] * is_maximum / is_maximum.sum(axis=1, keepdims=True)
