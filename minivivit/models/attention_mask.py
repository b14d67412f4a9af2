"""From an attention mask, as callers write it, to the numbers that are added to the scores."""

from typing import Any

import numpy

from minivivit.backend import Array, array_namespace, as_array, to_numpy
from minivivit.errors import InputError


def attention_bias(attention_mask: Array, shape: tuple[int, int, int], dtype: Any, xp: Any) -> Array:
    """Turn a mask into a bias: 0 where a key may be seen, the most negative number where not.

    Parameters
    ----------
    attention_mask : array
        (batch, tokens): True or 1 for tokens that may be seen, the CLS token counted in. Or an array that broadcasts to
        (batch, heads, tokens, tokens), boolean likewise, or floating: then it is the bias itself.
    shape : (batch, heads, tokens)
        Of the model and its input.

    Returns
    -------
    bias : array that broadcasts to (batch, heads, tokens, tokens), in `dtype`
    """
    batch, heads, tokens = shape
    mask = as_array(attention_mask, "attention_mask")
    kind = numpy.dtype(mask.dtype).kind
    if kind not in "biuf":
        raise InputError(f"attention_mask has dtype {mask.dtype}; expected booleans or numbers")
    full = (batch, heads, tokens, tokens)
    broadcasts = mask.ndim == 4 and all(size in (1, most) for size, most in zip(mask.shape, full, strict=True))
    if tuple(mask.shape) != (batch, tokens) and not broadcasts:
        raise InputError(
            f"attention_mask has shape {tuple(mask.shape)}; expected (batch, tokens) = {(batch, tokens)}, or (batch, "
            f"heads, tokens, tokens) = {full}"
        )
    if array_namespace(mask) is not xp:
        mask = xp.asarray(to_numpy(mask))
    lowest = float(numpy.finfo(dtype).min)
    if kind == "f" and not bool((mask.astype("float64") <= float(numpy.finfo(dtype).max)).all()):
        raise InputError(
            "attention_mask holds NaN or infinity (-inf is welcome); expected 0 and 1, or numbers to be added to the "
            "scores"
        )
    if kind == "f" and mask.ndim == 4:
        # where a whole block of keys is hidden, -inf would make NaN of it
        return xp.maximum(mask.astype("float64"), lowest).astype(dtype)
    visible = mask.astype(bool)
    if mask.ndim == 2:
        visible = visible[:, None, None, :]
    return xp.where(visible, 0.0, lowest).astype(dtype)
