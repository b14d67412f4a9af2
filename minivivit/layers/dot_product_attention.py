"""Scaled dot-product attention: explicit when the probabilities are asked for, blockwise otherwise."""

from minivivit.backend import Array, array_namespace
from minivivit.layers.trace import Trace, record, wants
from minivivit.ops.attention import attention_backward, attention_forward
from minivivit.ops.attention_dropout import AttentionDropout, full_attention_dropout_keep
from minivivit.ops.blockwise_attention import blockwise_attention_backward, blockwise_attention_forward


def dot_product_attention_forward(
    query: Array,
    key: Array,
    value: Array,
    *,
    explicit: bool = False,
    bias: Array | None = None,
    dropout: AttentionDropout | None = None,
    trace: Trace | None = None,
) -> tuple[Array, Array | None, dict]:
    """Attention over the tokens of each sample and head.

    The mathematics is in `minivivit.ops.attention`; `minivivit.ops.blockwise_attention` computes the same without
    holding the probabilities. A test holds the two together.

    Parameters
    ----------
    query, key, value : arrays, shape (batch, heads, tokens, head_size)
    explicit : bool
        Hold the probabilities and return them.
    bias : array that broadcasts to (batch, heads, tokens, tokens), optional
        Added to the scores.
    dropout : (seed, rate), optional
        Dropout of the probabilities while training; see `minivivit.ops.attention_dropout`.

    Returns
    -------
    output : array, shape (batch, heads, tokens, head_size)
    probs : array, shape (batch, heads, tokens, tokens), or None
        Before dropout. None unless `explicit`, or a trace asks for them.
    cache : dict
    """
    explicit = explicit or wants(trace, "scores") or wants(trace, "probs")
    if not explicit:
        output, cache = blockwise_attention_forward(query, key, value, bias, dropout)
        return output, None, {"blockwise": cache}
    keep, rate = None, 0.0
    if dropout is not None:
        seed, rate, *part = dropout
        shape = (*query.shape[:3], key.shape[2])
        keep = array_namespace(query).asarray(full_attention_dropout_keep(seed, rate, shape, *part))
    output, cache = attention_forward(query, key, value, bias, keep, rate)
    record(trace, "scores", cache["scores"])
    record(trace, "probs", cache["probs"])
    return output, cache["probs"], {"explicit": cache}


def dot_product_attention_backward(doutput: Array, cache: dict) -> tuple[Array, Array, Array]:
    """Gradients to query, key and value, by the form of attention that went forward."""
    if "blockwise" in cache:
        return blockwise_attention_backward(doutput, cache["blockwise"])
    return attention_backward(doutput, cache["explicit"])
