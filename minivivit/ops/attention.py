"""Scaled dot-product attention, explicit: the probabilities are held, to be read (Vaswani et al. 2017)."""

import math

import numpy

from minivivit.backend import Array, floating_namespace, parallel_matmul
from minivivit.ops.dropout import dropout_backward, dropout_forward
from minivivit.ops.softmax import softmax_backward, softmax_forward


def attention_forward(
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None = None,
    dropout_keep: Array | None = None,
    dropout_rate: float = 0.0,
) -> tuple[Array, dict]:
    r"""Mix the values of all tokens, weighted by how well their keys fit a token's query.

    .. math::
        S = \frac{Q K^\top}{\sqrt{d}} + B, \qquad P = \mathrm{softmax}(S), \qquad O = P V

    Parameters
    ----------
    query : array, shape (..., queries, head_size)
    key, value : arrays, shape (..., keys, head_size)
    bias : array that broadcasts to (..., queries, keys), optional
        Added to the scores: a very negative entry hides a key from a query. One of -inf counts as the lowest finite
        number: a query from which all keys are hidden then weighs them equally, as transformers' masks have it, and
        not as NaN. NaN in the output always means that a score overflowed.
    dropout_keep : boolean array that broadcasts to (..., queries, keys), optional
        Which probabilities to keep while training, at `dropout_rate` (see `minivivit.ops.dropout`).

    Returns
    -------
    output : array, shape (..., queries, head_size)
    cache : dict
        ``"scores"`` S and ``"probs"`` P, shape (..., queries, keys), may be read.

    References
    ----------
    The paper's section 3.1; Vaswani et al. 2017, arXiv:1706.03762, equation 1.
    """
    xp = floating_namespace(query, "query")
    floating_namespace(key, "key"), floating_namespace(value, "value")
    scale = 1 / math.sqrt(query.shape[-1])
    scores = parallel_matmul(query, key.swapaxes(-1, -2)) * scale  # (..., queries, keys)
    if bias is not None:
        scores += xp.maximum(bias, numpy.finfo(scores.dtype).min)
    probs, softmax_cache = softmax_forward(scores)
    weights, dropout_cache = probs, None
    if dropout_keep is not None:
        weights, dropout_cache = dropout_forward(probs, dropout_keep, dropout_rate)
    output = parallel_matmul(weights, value)
    cache = {
        "query": query,
        "key": key,
        "value": value,
        "scale": scale,
        "scores": scores,
        "probs": probs,
        "weights": weights,
        "softmax": softmax_cache,
        "dropout": dropout_cache,
    }
    return output, cache


def attention_backward(doutput: Array, cache: dict) -> tuple[Array, Array, Array]:
    r"""Gradients of `attention_forward`.

    Both products differentiate as matrix products do (see `minivivit.ops.linear`), with the softmax between them:

    .. math::
        dV = P^\top dO, \quad dP = dO\, V^\top, \quad dS = P \circ (dP - \mathrm{rowsum}(dP \circ P)), \quad
        dQ = \frac{dS\, K}{\sqrt d}, \quad dK = \frac{dS^\top Q}{\sqrt d}

    With dropout, the P in dV is the one after dropout, and dP goes back through `dropout_backward` first. The bias is a
    constant, a mask, and gets no gradient.

    Returns
    -------
    dquery, dkey, dvalue : arrays of the shapes of query, key and value
    """
    dvalue = parallel_matmul(cache["weights"].swapaxes(-1, -2), doutput)
    dprobs = parallel_matmul(doutput, cache["value"].swapaxes(-1, -2))  # (..., queries, keys)
    if cache["dropout"] is not None:
        dprobs = dropout_backward(dprobs, cache["dropout"])
    dscores = softmax_backward(dprobs, cache["softmax"]) * cache["scale"]
    dquery = parallel_matmul(dscores, cache["key"])
    dkey = parallel_matmul(dscores.swapaxes(-1, -2), cache["query"])
    return dquery, dkey, dvalue
