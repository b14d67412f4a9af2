"""The transformer layer of Models 1, 2 and 4: attention, then an MLP, each normalised before and added to its input."""

from typing import Any

from minivivit.backend import Array
from minivivit.layers.mlp import mlp_backward, mlp_forward
from minivivit.layers.multi_head_attention import multi_head_attention_backward, multi_head_attention_forward
from minivivit.layers.residual_branch import residual_branch_backward, residual_branch_forward
from minivivit.layers.trace import Trace, record, scope
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward


def transformer_layer_forward(
    x: Array,
    params: dict,
    *,
    num_heads: int,
    activation: str,
    eps: float,
    explicit: bool = False,
    bias: Array | None = None,
    grid: tuple[int, int] | None = None,
    draws: dict | None = None,
    keep_cache: bool = True,
    trace: Trace | None = None,
) -> tuple[Array, Any, dict | None]:
    r"""One pre-norm transformer layer.

    .. math::
        y = x + \mathrm{MSA}(\mathrm{LN}(x)), \qquad z = y + \mathrm{MLP}(\mathrm{LN}(y))

    Parameters
    ----------
    x : array, shape (batch, tokens, hidden)
    params : dict
        ``layernorm_before``, ``attention``, ``layernorm_after``, ``intermediate`` and ``output``, as the published
        checkpoint spells them.
    num_heads, activation, eps : from the config
    explicit, bias, grid : see `minivivit.layers.multi_head_attention`
    draws : dict, optional
        While training with dropout or stochastic depth: the masks ``"attention"`` and ``"mlp"`` of the two branches
        (see `minivivit.layers.residual_branch`), and ``"attention_probs"``, (seed, rate) or None.
    keep_cache : bool
        False while nothing will be differentiated: the cache is then None.

    Returns
    -------
    z : array, shape (batch, tokens, hidden)
    probs : attention probabilities, or None
    cache : dict or None

    References
    ----------
    The paper's equations 2 and 3; transformers' ``VivitLayer``.
    """
    draws = draws or {}
    norm = params["layernorm_before"]
    normalised, norm_before_cache = layer_norm_forward(x, norm["weight"], norm["bias"], eps)
    record(trace, "layernorm_before", normalised)
    attended, probs, attention_cache = multi_head_attention_forward(
        normalised,
        params["attention"],
        num_heads,
        explicit=explicit,
        bias=bias,
        dropout=draws.get("attention_probs"),
        grid=grid,
        trace=scope(trace, "attention"),
    )
    branch, attention_branch_cache = residual_branch_forward(attended, draws.get("attention"))
    y = x + branch
    record(trace, "attention_residual", y)
    cache: dict[str, Any] = {
        "norm_before": norm_before_cache,
        "attention": attention_cache,
        "attention_branch": attention_branch_cache,
    }
    del norm_before_cache, attention_cache, attention_branch_cache, normalised, attended, branch
    if not keep_cache:
        cache.clear()  # nothing will be differentiated: free the queries, keys and values before the MLP

    norm = params["layernorm_after"]
    normalised, norm_after_cache = layer_norm_forward(y, norm["weight"], norm["bias"], eps)
    record(trace, "layernorm_after", normalised)
    narrowed, mlp_cache = mlp_forward(normalised, params, activation, keep_cache=keep_cache, trace=trace)
    branch, mlp_branch_cache = residual_branch_forward(narrowed, draws.get("mlp"))
    z = y + branch
    cache |= {"norm_after": norm_after_cache, "mlp": mlp_cache, "mlp_branch": mlp_branch_cache}
    return z, probs, cache if keep_cache else None


def transformer_layer_backward(dz: Array, cache: dict, *, trace: Trace | None = None) -> tuple[Array, dict]:
    r"""Gradients of `transformer_layer_forward`, from the bottom up.

    A sum passes its gradient to both terms, so past each branch the residual stream's gradient goes on unchanged, with
    the branch's own added: :math:`dy = dz + \mathrm{LN}'(\mathrm{MLP}'(dz))`.

    Returns
    -------
    dx : array, shape (batch, tokens, hidden)
    gradients : dict
        As params.
    """
    dbranch = residual_branch_backward(dz, cache["mlp_branch"])
    dnormalised, gradients = mlp_backward(dbranch, cache["mlp"], trace=trace)
    record(trace, "layernorm_after", dnormalised)
    dy, dweight, dbias = layer_norm_backward(dnormalised, cache["norm_after"])
    gradients["layernorm_after"] = {"weight": dweight, "bias": dbias}
    dy += dz

    record(trace, "attention_residual", dy)
    dbranch = residual_branch_backward(dy, cache["attention_branch"])
    dnormalised, gradients["attention"] = multi_head_attention_backward(
        dbranch, cache["attention"], trace=scope(trace, "attention")
    )
    record(trace, "layernorm_before", dnormalised)
    dx, dweight, dbias = layer_norm_backward(dnormalised, cache["norm_before"])
    gradients["layernorm_before"] = {"weight": dweight, "bias": dbias}
    dx += dy
    return dx, gradients
