"""The multi-layer perceptron of a transformer layer: wide, activation, narrow again."""

from functools import partial
from typing import Any

from minivivit.backend import (
    LARGE_PRODUCT,
    Array,
    array_namespace,
    matmul,
    parallel_blocks,
    parallel_matmul,
    row_blocks,
)
from minivivit.layers.trace import Trace, record
from minivivit.ops.activation import ACTIVATIONS

# Tokens that a task works on at once: enough that the matrix products run at full speed.
BLOCK_ROWS = 800
# Entries that the activation takes at once: it passes over them a dozen times, and so few stay in cache meanwhile. The
# wide array of a whole block does not.
ACTIVATION_ENTRIES = 1 << 16


def mlp_forward(
    x: Array, params: dict, activation: str, *, keep_cache: bool = True, trace: Trace | None = None
) -> tuple[Array, dict | None]:
    r"""Widen each token, bend it, and narrow it again.

    .. math:: \mathrm{MLP}(x) = W_2\, g(W_1 x + b_1) + b_2

    with the activation g. Tokens do not see each other here, so blocks of them are computed one by one: the wide array
    :math:`g(W_1 x + b_1)` need never exist whole. For the backward pass x and W_1 x + b_1 are kept.

    Parameters
    ----------
    x : array, shape (batch, tokens, hidden)
    params : dict
        ``{"intermediate": {"dense": {"weight", "bias"}}, "output": {"dense": {"weight", "bias"}}}``
    activation : str
        A key of `minivivit.ops.activation.ACTIVATIONS`.
    keep_cache : bool
        False while nothing will be differentiated: the cache is then None.

    Returns
    -------
    y : array, shape (batch, tokens, hidden)
    cache : dict or None

    References
    ----------
    The paper's section 3.1; transformers' ``VivitMLP``.
    """
    xp = array_namespace(x)
    activate, _ = ACTIVATIONS[activation]
    wide, narrow = params["intermediate"]["dense"], params["output"]["dense"]
    rows_in = x.reshape(-1, x.shape[-1])  # (rows, hidden)
    wide_shape = (len(rows_in), len(wide["weight"]))  # (rows, intermediate)
    before = xp.empty(wide_shape, dtype=x.dtype) if keep_cache or trace is not None else None
    after = xp.empty(wide_shape, dtype=x.dtype) if trace is not None else None
    y = xp.empty((len(rows_in), len(narrow["weight"])), dtype=x.dtype)

    def compute(rows: slice) -> None:
        widened = matmul(rows_in[rows], wide["weight"].T, out=None if before is None else before[rows])
        activated = xp.empty_like(widened) if after is None else after[rows]
        for few in _few_rows(widened, xp):
            widened[few] += wide["bias"]
            activate(widened[few], out=activated[few])
        matmul(activated, narrow["weight"].T, out=y[rows])
        y[rows] += narrow["bias"]

    parallel_blocks([partial(compute, rows) for rows in _blocks(wide["weight"], len(rows_in), xp)], xp)
    y = y.reshape(x.shape)
    if before is not None and after is not None:
        record(trace, "intermediate.dense", before.reshape(*x.shape[:-1], -1))
        record(trace, "intermediate", after.reshape(*x.shape[:-1], -1))
        record(trace, "output.dense", y)
    cache = {"x": rows_in, "before": before, "wide": wide, "narrow": narrow, "activation": activation}
    return y, cache if keep_cache else None


def mlp_backward(dy: Array, cache: dict, *, trace: Trace | None = None) -> tuple[Array, dict]:
    r"""Gradients of `mlp_forward`, from the bottom up.

    With :math:`u = W_1 x + b_1` and a = g(u),

    .. math::
        da = W_2^\top dy, \quad dW_2 = \sum dy\, a^\top, \quad du = da \circ g'(u), \quad
        dW_1 = \sum du\, x^\top, \quad dx = W_1^\top du

    where the sums are over the tokens. a is computed again from u: that is cheaper than keeping it.

    Returns
    -------
    dx : array, shape (batch, tokens, hidden)
    gradients : dict
        As params.
    """
    xp = array_namespace(dy)
    activate, activate_backward = ACTIVATIONS[cache["activation"]]
    rows_in, before, wide, narrow = cache["x"], cache["before"], cache["wide"], cache["narrow"]
    dy_rows = dy.reshape(-1, dy.shape[-1])  # (rows, hidden)
    activated, dbefore = xp.empty_like(before), xp.empty_like(before)  # (rows, intermediate)
    dx = xp.empty_like(rows_in)

    def differentiate(rows: slice) -> None:
        dactivated = matmul(dy_rows[rows], narrow["weight"], out=dbefore[rows])
        for few in _few_rows(dactivated, xp):
            _, activation_cache = activate(before[rows][few], out=activated[rows][few])
            dactivated[few] = activate_backward(dactivated[few], activation_cache)  # now it is dbefore
        matmul(dbefore[rows], wide["weight"], out=dx[rows])

    parallel_blocks([partial(differentiate, rows) for rows in _blocks(wide["weight"], len(rows_in), xp)], xp)
    if trace is not None:
        record(trace, "output.dense", dy)
        record(trace, "intermediate.dense", dbefore.reshape(*dy.shape[:-1], -1))
    gradients = {
        "intermediate": {"dense": {"weight": parallel_matmul(dbefore.T, rows_in), "bias": dbefore.sum(axis=0)}},
        "output": {"dense": {"weight": parallel_matmul(dy_rows.T, activated), "bias": dy_rows.sum(axis=0)}},
    }
    return dx.reshape(dy.shape), gradients


def _blocks(weight: Array, num_rows: int, xp: Any) -> list[slice]:
    """At most `BLOCK_ROWS` rows each, and at least two blocks where a product with the weight is worth a thread."""
    is_large = num_rows * weight.size >= LARGE_PRODUCT
    return row_blocks(num_rows, min(BLOCK_ROWS, -(-num_rows // 2)) if is_large else BLOCK_ROWS, xp)


def _few_rows(wide_rows: Array, xp: Any) -> list[slice]:
    """At most `ACTIVATION_ENTRIES` entries each, and whole rows."""
    return row_blocks(len(wide_rows), max(1, ACTIVATION_ENTRIES // wide_rows.shape[-1]), xp)
