"""Multi-head self-attention: project, attend in every head, put the heads together, project."""

from typing import Any

from minivivit.backend import Array
from minivivit.layers.dot_product_attention import dot_product_attention_backward, dot_product_attention_forward
from minivivit.layers.factorised_dot_product_attention import (
    factorised_dot_product_attention_backward,
    factorised_dot_product_attention_forward,
)
from minivivit.layers.trace import Trace, record, scope
from minivivit.ops.attention_dropout import AttentionDropout
from minivivit.ops.linear import linear_backward, linear_forward


def multi_head_attention_forward(
    x: Array,
    params: dict,
    num_heads: int,
    *,
    explicit: bool = False,
    bias: Array | None = None,
    dropout: AttentionDropout | None = None,
    grid: tuple[int, int] | None = None,
    trace: Trace | None = None,
) -> tuple[Array, Any, dict]:
    r"""Attention in h heads, each with its own part of the projections.

    .. math::
        Q = x W_Q^\top + b_Q, \quad K = x W_K^\top + b_K, \quad V = x W_V^\top + b_V, \qquad
        \mathrm{MSA}(x) = \mathrm{Concat}(O_1, \dots, O_h)\, W_O^\top + b_O

    where :math:`O_i = \mathrm{softmax}(Q_i K_i^\top / \sqrt{d}) V_i` and :math:`Q_i` is the i-th part of the features
    of Q, d = hidden / h wide.

    Parameters
    ----------
    x : array, shape (batch, tokens, hidden)
    params : dict
        ``{"attention": {"query": {"weight", "bias"}, "key": ..., "value": ...}, "output": {"dense": ...}}``; query, key
        and value may lack the bias.
    num_heads : int
    explicit, bias, dropout : see `minivivit.layers.dot_product_attention`
    grid : (times, places), optional
        Given, half of the heads attend over time and half over space (the paper's Model 4).

    Returns
    -------
    y : array, shape (batch, tokens, hidden)
    probs : as the attention returns them, or None
    cache : dict

    References
    ----------
    Vaswani et al. 2017, section 3.2.2; transformers' ``VivitAttention``.
    """
    projected, projection_caches = {}, {}
    for name in ("query", "key", "value"):
        projection = params["attention"][name]
        y, projection_caches[name] = linear_forward(x, projection["weight"], projection.get("bias"))
        record(trace, f"attention.{name}", y)
        projected[name] = split_heads(y, num_heads)  # (batch, heads, tokens, head_size)
    inner_trace = scope(trace, "attention")
    if grid is None:
        context, probs, attention_cache = dot_product_attention_forward(
            **projected, explicit=explicit, bias=bias, dropout=dropout, trace=inner_trace
        )
    else:
        context, probs, attention_cache = factorised_dot_product_attention_forward(
            **projected, grid=grid, explicit=explicit, dropout=dropout, trace=inner_trace
        )
    merged = merge_heads(context)  # (batch, tokens, hidden)
    record(trace, "attention", merged)
    dense = params["output"]["dense"]
    y, output_cache = linear_forward(merged, dense["weight"], dense["bias"])
    record(trace, "output.dense", y)
    cache = {"projections": projection_caches, "attention": attention_cache, "output": output_cache, "grid": grid}
    return y, probs, {**cache, "num_heads": num_heads}


def multi_head_attention_backward(dy: Array, cache: dict, *, trace: Trace | None = None) -> tuple[Array, dict]:
    """Gradients of `multi_head_attention_forward`, from the bottom up.

    x feeds three projections, so its gradient is the sum of theirs. The key's bias adds the same number q_i . b to
    every score of row i, which no softmax sees: its gradient is 0, up to rounding.

    Returns
    -------
    dx : array, shape (batch, tokens, hidden)
    gradients : dict
        As params.
    """
    record(trace, "output.dense", dy)
    dmerged, dweight, dbias = linear_backward(dy, cache["output"])
    gradients: dict = {"attention": {}, "output": {"dense": {"weight": dweight, "bias": dbias}}}
    record(trace, "attention", dmerged)
    dcontext = split_heads(dmerged, cache["num_heads"])
    if cache["grid"] is None:
        dprojected = dot_product_attention_backward(dcontext, cache["attention"])
    else:
        dprojected = factorised_dot_product_attention_backward(dcontext, cache["attention"])
    dx = 0
    for name, dheads in zip(("query", "key", "value"), dprojected, strict=True):
        dy_projection = merge_heads(dheads)
        record(trace, f"attention.{name}", dy_projection)
        dx_projection, dweight, dbias = linear_backward(dy_projection, cache["projections"][name])
        gradients["attention"][name] = {"weight": dweight} if dbias is None else {"weight": dweight, "bias": dbias}
        dx = dx + dx_projection
    return dx, gradients


def split_heads(x: Array, num_heads: int) -> Array:
    """(batch, tokens, hidden) -> (batch, heads, tokens, head_size): a view."""
    batch, tokens, hidden = x.shape
    return x.reshape(batch, tokens, num_heads, hidden // num_heads).transpose(0, 2, 1, 3)


def merge_heads(heads: Array) -> Array:
    """(batch, heads, tokens, head_size) -> (batch, tokens, hidden)."""
    batch, num_heads, tokens, head_size = heads.shape
    return heads.transpose(0, 2, 1, 3).reshape(batch, tokens, num_heads * head_size)
