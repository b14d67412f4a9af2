"""Factorised dot-product attention: half of the heads attend over time, half over space (the paper's Model 4)."""

from minivivit.backend import Array, array_namespace
from minivivit.layers.dot_product_attention import dot_product_attention_backward, dot_product_attention_forward
from minivivit.layers.trace import Trace, scope
from minivivit.ops.attention_dropout import AttentionDropout


def factorised_dot_product_attention_forward(
    query: Array,
    key: Array,
    value: Array,
    grid: tuple[int, int],
    *,
    explicit: bool = False,
    dropout: AttentionDropout | None = None,
    trace: Trace | None = None,
) -> tuple[Array, dict[str, Array] | None, dict]:
    r"""Give the first half of the heads the tokens of the same place, the second half those of the same time.

    .. math::
        Y_s = \mathrm{Attention}(Q, K_s, V_s), \quad Y_t = \mathrm{Attention}(Q, K_t, V_t), \quad
        Y = \mathrm{Concat}(Y_t, Y_s)\, W_O

    where the keys and values :math:`K_t, V_t` of a token are those of the tokens at its place in all frames, and
    :math:`K_s, V_s` those of all tokens of its frame. No parameter is added to Model 1, and the cost of attention falls
    from :math:`(n_t n_s)^2` to :math:`n_t n_s (n_t + n_s) / 2`.

    Parameters
    ----------
    query, key, value : arrays, shape (batch, heads, tokens, head_size)
    grid : (times, places)
        tokens = times * places, time slowest.

    Returns
    -------
    output : array, shape (batch, heads, tokens, head_size)
    probs : {"temporal": (batch, places, heads / 2, times, times), "spatial": (batch, times, heads / 2, places, places)}
        or None
    cache : dict

    References
    ----------
    The paper's section 3.3 and figure 6; scenic ``model_utils.factorized_dot_product_attention``, which gives the
    first heads to time.
    """
    xp = array_namespace(query)
    half = query.shape[1] // 2
    outputs, probs, caches = [], {}, {}
    for axis, heads in (("temporal", slice(0, half)), ("spatial", slice(half, None))):
        sequences = [_to_sequences(array[:, heads], grid, axis) for array in (query, key, value)]
        if dropout is not None and axis == "spatial":
            dropout = (dropout[0] + 1, *dropout[1:])  # another stream of masks
        output, axis_probs, caches[axis] = dot_product_attention_forward(
            *sequences, explicit=explicit, dropout=dropout, trace=scope(trace, axis)
        )
        outputs.append(_from_sequences(output, grid, axis))
        if axis_probs is not None:
            probs[axis] = axis_probs.reshape(len(query), -1, *axis_probs.shape[1:])
    return xp.concatenate(outputs, axis=1), probs or None, {"grid": grid, **caches}


def factorised_dot_product_attention_backward(doutput: Array, cache: dict) -> tuple[Array, Array, Array]:
    """Each half of the heads differentiates by itself; rearranging tokens moves their gradients back.

    Returns
    -------
    dquery, dkey, dvalue : arrays, shape (batch, heads, tokens, head_size)
    """
    xp = array_namespace(doutput)
    grid, half = cache["grid"], doutput.shape[1] // 2
    halves = []
    for axis, heads in (("temporal", slice(0, half)), ("spatial", slice(half, None))):
        gradients = dot_product_attention_backward(_to_sequences(doutput[:, heads], grid, axis), cache[axis])
        halves.append([_from_sequences(gradient, grid, axis) for gradient in gradients])
    dquery, dkey, dvalue = (xp.concatenate(pair, axis=1) for pair in zip(*halves, strict=True))
    return dquery, dkey, dvalue


def _to_sequences(heads: Array, grid: tuple[int, int], axis: str) -> Array:
    """(batch, heads, times * places, size) -> (batch * places, heads, times, size), or with the two exchanged."""
    batch, num_heads, _, size = heads.shape
    times, places = grid
    heads = heads.reshape(batch, num_heads, times, places, size)
    if axis == "temporal":
        return heads.transpose(0, 3, 1, 2, 4).reshape(batch * places, num_heads, times, size)
    return heads.transpose(0, 2, 1, 3, 4).reshape(batch * times, num_heads, places, size)


def _from_sequences(sequences: Array, grid: tuple[int, int], axis: str) -> Array:
    """Undo `_to_sequences`."""
    _, num_heads, _, size = sequences.shape
    times, places = grid
    if axis == "temporal":
        heads = sequences.reshape(-1, places, num_heads, times, size).transpose(0, 2, 3, 1, 4)
    else:
        heads = sequences.reshape(-1, times, num_heads, places, size).transpose(0, 2, 1, 3, 4)
    return heads.reshape(len(heads), num_heads, times * places, size)
