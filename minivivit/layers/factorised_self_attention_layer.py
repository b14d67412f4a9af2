"""The layer of Model 3: attention over time, attention over space, then an MLP (the paper's section 3.3)."""

from typing import Any

from minivivit.backend import Array
from minivivit.layers.mlp import mlp_backward, mlp_forward
from minivivit.layers.multi_head_attention import multi_head_attention_backward, multi_head_attention_forward
from minivivit.layers.residual_branch import residual_branch_backward, residual_branch_forward
from minivivit.layers.trace import Trace, record, scope
from minivivit.ops.layer_norm import layer_norm_backward, layer_norm_forward

AXES = {"time_space": ("temporal", "spatial"), "space_time": ("spatial", "temporal")}


def factorised_self_attention_layer_forward(
    x: Array,
    params: dict,
    *,
    num_heads: int,
    activation: str,
    eps: float,
    grid: tuple[int, int],
    order: str,
    explicit: bool = False,
    draws: dict | None = None,
    keep_cache: bool = True,
    trace: Trace | None = None,
) -> tuple[Array, dict[str, Array] | None, dict | None]:
    r"""Attend over the tokens of the same place, then over those of the same time (or in the other order).

    .. math::
        y_t = z + \mathrm{MSA}_t(\mathrm{LN}(z)), \quad y_s = y_t + \mathrm{MSA}_s(\mathrm{LN}(y_t)), \quad
        z' = y_s + \mathrm{MLP}(\mathrm{LN}(y_s))

    Parameters
    ----------
    x : array, shape (batch, tokens, hidden)
    params : dict
        ``layernorm_temporal``, ``temporal_attention``, ``layernorm_spatial``, ``spatial_attention``,
        ``layernorm_after``, ``intermediate`` and ``output``.
    grid : (times, places)
        tokens = times * places, time slowest.
    order : {"time_space", "space_time"}
    draws : dict, optional
        Dropout masks ``"temporal"``, ``"spatial"`` and ``"mlp"`` of the branches, ``"temporal_probs"`` and
        ``"spatial_probs"`` as (seed, rate) or None. There is no stochastic depth in this layer, as there is none in
        scenic's.

    Returns
    -------
    z : array, shape (batch, tokens, hidden)
    probs : {"temporal": (batch, places, heads, times, times), "spatial": (batch, times, heads, places, places)} or None
    cache : dict or None

    References
    ----------
    The paper's equations 4 to 6; scenic ``model.EncoderFactorizedSelfAttentionBlock``.
    """
    draws = draws or {}
    probs, caches = {}, {}
    y = x
    for axis in AXES[order]:
        y, axis_probs, caches[axis] = _axis_attention_forward(
            y, params, axis, num_heads=num_heads, eps=eps, grid=grid, explicit=explicit, draws=draws, trace=trace
        )
        record(trace, f"{axis}_attention_residual", y)
        if not keep_cache:
            caches.clear()
        if axis_probs is not None:
            probs[axis] = axis_probs.reshape(len(x), -1, *axis_probs.shape[1:])
    norm = params["layernorm_after"]
    normalised, norm_cache = layer_norm_forward(y, norm["weight"], norm["bias"], eps)
    record(trace, "layernorm_after", normalised)
    narrowed, mlp_cache = mlp_forward(normalised, params, activation, keep_cache=keep_cache, trace=trace)
    branch, branch_cache = residual_branch_forward(narrowed, draws.get("mlp"))
    cache: dict[str, Any] = {"axes": caches, "order": order, "grid": grid}
    cache |= {"norm_after": norm_cache, "mlp": mlp_cache, "mlp_branch": branch_cache}
    return y + branch, probs or None, cache if keep_cache else None


def factorised_self_attention_layer_backward(
    dz: Array, cache: dict, *, trace: Trace | None = None
) -> tuple[Array, dict]:
    """Gradients of `factorised_self_attention_layer_forward`, from the bottom up.

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
    for axis in reversed(AXES[cache["order"]]):
        record(trace, f"{axis}_attention_residual", dy)
        dy, axis_gradients = _axis_attention_backward(dy, cache["axes"][axis], axis, cache["grid"], trace)
        gradients |= axis_gradients
    return dy, gradients


def _axis_attention_forward(
    x: Array,
    params: dict,
    axis: str,
    *,
    num_heads: int,
    eps: float,
    grid: tuple[int, int],
    explicit: bool,
    draws: dict,
    trace: Trace | None,
) -> tuple[Array, Any, dict]:
    """One residual branch of attention along one axis: the other axis becomes part of the batch."""
    norm = params[f"layernorm_{axis}"]
    normalised, norm_cache = layer_norm_forward(x, norm["weight"], norm["bias"], eps)
    record(trace, f"layernorm_{axis}", normalised)
    attended, probs, attention_cache = multi_head_attention_forward(
        _to_sequences(normalised, grid, axis),
        params[f"{axis}_attention"],
        num_heads,
        explicit=explicit,
        dropout=draws.get(f"{axis}_probs"),
        trace=scope(trace, f"{axis}_attention"),
    )
    branch, branch_cache = residual_branch_forward(_from_sequences(attended, grid, axis), draws.get(axis))
    return x + branch, probs, {"norm": norm_cache, "attention": attention_cache, "branch": branch_cache}


def _axis_attention_backward(
    dy: Array, cache: dict, axis: str, grid: tuple[int, int], trace: Trace | None
) -> tuple[Array, dict]:
    """Gradients of `_axis_attention_forward`."""
    dbranch = residual_branch_backward(dy, cache["branch"])
    dsequences, attention_gradients = multi_head_attention_backward(
        _to_sequences(dbranch, grid, axis), cache["attention"], trace=scope(trace, f"{axis}_attention")
    )
    dnormalised = _from_sequences(dsequences, grid, axis)
    record(trace, f"layernorm_{axis}", dnormalised)
    dx, dweight, dbias = layer_norm_backward(dnormalised, cache["norm"])
    dx += dy
    return dx, {
        f"layernorm_{axis}": {"weight": dweight, "bias": dbias},
        f"{axis}_attention": attention_gradients,
    }


def _to_sequences(tokens: Array, grid: tuple[int, int], axis: str) -> Array:
    """(batch, times * places, hidden) -> (batch * places, times, hidden), or (batch * times, places, hidden)."""
    batch, _, hidden = tokens.shape
    times, places = grid
    if axis == "spatial":
        return tokens.reshape(batch * times, places, hidden)
    by_place = tokens.reshape(batch, times, places, hidden).transpose(0, 2, 1, 3)
    return by_place.reshape(batch * places, times, hidden)


def _from_sequences(sequences: Array, grid: tuple[int, int], axis: str) -> Array:
    """Undo `_to_sequences`."""
    times, places = grid
    hidden = sequences.shape[-1]
    if axis == "spatial":
        return sequences.reshape(-1, times * places, hidden)
    by_time = sequences.reshape(-1, places, times, hidden).transpose(0, 2, 1, 3)
    return by_time.reshape(-1, times * places, hidden)
