"""From an attention mask, as callers write it, to the numbers that are added to the scores."""

from typing import Any

import numpy

from minivivit.backend import Array, array_namespace, to_numpy
from minivivit.errors import InputError


def attention_bias(attention_mask: Array, batch: int, tokens: int, dtype: Any, xp: Any) -> Array:
    """Turn a mask into a bias: 0 where a key may be seen, the most negative number where not.

    Parameters
    ----------
    attention_mask : array
        (batch, tokens): True or 1 for tokens that may be seen, the CLS token counted in. Or an array that broadcasts to
        (batch, heads, tokens, tokens), boolean likewise, or floating: then it is the bias itself.

    Returns
    -------
    bias : array that broadcasts to (batch, heads, tokens, tokens), in `dtype`
    """
    if not hasattr(attention_mask, "ndim"):
        attention_mask = numpy.asarray(attention_mask)
    if array_namespace(attention_mask) is not xp:
        attention_mask = xp.asarray(to_numpy(attention_mask))
    shape = tuple(attention_mask.shape)
    fits = len(shape) == 4 and all(
        size in (1, full) for size, full in zip((shape[0], *shape[2:]), (batch, tokens, tokens), strict=True)
    )
    if shape != (batch, tokens) and not fits:
        raise InputError(
            f"attention_mask has shape {shape}; expected (batch, tokens) = {(batch, tokens)}, or (batch, "
            "heads, tokens, tokens)"
        )
    if len(shape) == 4 and numpy.dtype(attention_mask.dtype).kind == "f":
        return attention_mask.astype(dtype)
    visible = attention_mask.astype(bool)
    if len(shape) == 2:
        visible = visible[:, None, None, :]
    return xp.where(visible, 0.0, float(numpy.finfo(dtype).min)).astype(dtype)
