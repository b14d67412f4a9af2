"""Scaled dot-product attention, block by block: scores of all tokens x tokens need not be there (Dao et al. 2022)."""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy

from minivivit.backend import (
    Array,
    array_namespace,
    floating_namespace,
    is_gpu,
    matmul,
    one_kernel,
    parallel_blocks,
    row_dots,
)
from minivivit.ops.attention_dropout import MASK_ROWS, AttentionDropout, attention_dropout_keep, first_sequence

# A block of scores, BLOCK_ROWS queries x at most BLOCK_KEYS keys: small enough to stay in cache between the product
# that makes it and the product that uses it, large enough for both products to run at full speed. No power of two: rows
# 4,096 or 8,192 bytes apart would share a few lines of the cache.
BLOCK_ROWS = MASK_ROWS
BLOCK_KEYS = 1056
# Entries of scores that one task works on at once; small heads are taken together until they fill it.
TASK_ENTRIES = BLOCK_ROWS * BLOCK_KEYS
# A GPU has no such cache to fit. It is busy only with large products, of many heads and rows at once: here as many as
# make this many entries, a gigabyte in float32. So a short clip's scores are there whole, and a long one's never.
BLOCK_KEYS_ON_GPU = 8192
ENTRIES_ON_GPU = 1 << 28


def blockwise_attention_forward(
    query: Array, key: Array, value: Array, bias: Array | None = None, dropout: AttentionDropout | None = None
) -> tuple[Array, dict]:
    r"""The function of `minivivit.ops.attention.attention_forward`, without ever holding P.

    A softmax can be computed in one pass over blocks of keys (online softmax). For one query, keep the largest score so
    far m, the sum :math:`\ell = \sum_j e^{s_j - m}` and the weighted values :math:`o = \sum_j e^{s_j - m} v_j`. A new
    block of keys with scores s may raise the maximum to m'; what was summed relative to m is then rescaled:

    .. math::
        m' = \max(m, \max_j s_j), \qquad
        \ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'}, \qquad
        o' = e^{m - m'} o + \sum_j e^{s_j - m'} v_j

    After the last block O is o / l, and m and l, two numbers a query, are all that the backward pass needs to compute
    any block of P again. (Their sum :math:`m + \log \ell` would be one number, but a rounded one: beside a large m, and
    where a mask hides all keys beside the largest there is, :math:`\log \ell` is lost.) With dropout, the weights of v
    in o are masked and scaled (so O is the sum of the kept probabilities' values); l is of all probabilities, as a
    softmax before dropout has it.

    Parameters
    ----------
    query, key, value : arrays, shape (batch, heads, tokens, head_size)
    bias : array that broadcasts to (batch, heads, tokens, tokens), optional
        Added to the scores, as in `attention_forward`.
    dropout : (seed, rate), optional
        Dropout of the probabilities, with the mask of `minivivit.ops.attention_dropout`.

    Returns
    -------
    output : array, shape (batch, heads, tokens, head_size)
        In memory as (batch, tokens, heads, head_size), so that merging the heads costs nothing.
    cache : dict

    References
    ----------
    Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691, algorithm 1 (queries in the outer loop, one division
    at the end, as here); Milakov & Gimelshein 2018, arXiv:1805.02867.
    """
    xp = floating_namespace(query, "query")
    floating_namespace(key, "key"), floating_namespace(value, "value")
    output = _empty_heads(query, xp)
    maximum, total = (xp.empty((*query.shape[:3], 1), dtype=query.dtype) for _ in range(2))
    tasks = [
        partial(_forward_task, place, query, key, value, bias, dropout, output, maximum, total)
        for place in _head_groups(query.shape, key.shape[2], xp)
    ]
    parallel_blocks(tasks, xp)
    cache = {
        "query": query,
        "key": key,
        "value": value,
        "bias": bias,
        "dropout": dropout,
        "maximum": maximum,
        "total": total,
    }
    return output, cache


def _forward_task(
    place: tuple[slice, slice],
    query: Array,
    key: Array,
    value: Array,
    bias: Array | None,
    dropout: AttentionDropout | None,
    output: Array,
    maximum: Array,
    total: Array,
) -> None:
    """Attention of some heads: for each block of queries, one pass over the blocks of keys."""
    xp = array_namespace(query)
    scaled_query = query[place] * (1 / math.sqrt(query.shape[-1]))
    transposed_key = xp.ascontiguousarray(key[place].swapaxes(-1, -2))  # once a head, not once a block
    values = xp.ascontiguousarray(value[place])
    lowest = numpy.finfo(query.dtype).min
    for rows in _row_blocks(scaled_query.shape, key.shape[2], xp):
        running_max = None
        for keys in _key_blocks(key.shape[2], xp):
            scores = matmul(scaled_query[..., rows, :], transposed_key[..., keys])  # (..., rows, keys)
            if bias is not None:
                scores += _bias_block(bias, query.shape, key.shape[2], place, rows, keys, lowest, xp)
            block_max = scores.max(axis=-1, keepdims=True)  # (..., rows, 1)
            new_max = xp.maximum(lowest if running_max is None else running_max, block_max)
            one_kernel(_exp_above, (scores,), (new_max,))
            weights = scores
            block_sum = weights.sum(axis=-1, keepdims=True)  # of the probabilities before dropout
            if dropout is not None:
                weights *= _dropout_block(dropout, query.shape, place, rows, keys, key.shape[2], weights)
            block_output = matmul(weights, values[..., keys, :])  # (..., rows, head_size)
            if running_max is None:
                running_sum, weighted = block_sum, block_output
            else:
                rescale = xp.exp(running_max - new_max)
                running_sum = running_sum * rescale + block_sum
                weighted = weighted * rescale + block_output
            running_max = new_max
        output[(*place, rows)] = weighted / running_sum
        maximum[(*place, rows)] = running_max
        total[(*place, rows)] = running_sum


def blockwise_attention_backward(doutput: Array, cache: dict) -> tuple[Array, Array, Array]:
    r"""Gradients of `blockwise_attention_forward`, computing the probabilities again block by block.

    The probabilities are :math:`P_{ij} = E_{ij} / \ell_i` with :math:`E_{ij} = e^{S_{ij} - m_i}`. The division costs
    nothing where it is made in dO, which has one row a query too: with :math:`dO' = dO / \ell`

    .. math::
        dV = P^\top dO = E^\top dO', \qquad dP' = dO'\, V^\top, \qquad
        \delta'_i = \frac1{\ell_i} \sum_j E_{ij}\, dP'_{ij}, \qquad dS = E \circ (dP' - \delta')

    and dQ, dK are the sums over blocks of the products in `minivivit.ops.attention.attention_backward`. With dropout,
    the E in dV and dP' are masked and scaled as on the way forward.

    The sum :math:`\delta` is over all keys, so the blocks of E and dP' of some queries are kept until it is whole. In
    exact arithmetic it is :math:`dO_i \cdot O_i`, which is known beforehand (so Dao et al. have it). But where
    attention has settled on one key j, :math:`dP_{ij}` and :math:`\delta_i` are almost equal, and of their difference
    only the rounding errors would be left. Summed from the same rounded numbers these cancel too, and a row of dS sums
    to 0.

    Returns
    -------
    dquery, dkey, dvalue : arrays of the shapes of query, key and value

    References
    ----------
    Dao 2023, arXiv:2307.08691, algorithm 2, which has the keys in the outer loop; here the queries are, as on the way
    forward, which is what lets a row be summed.
    """
    query, key = cache["query"], cache["key"]
    xp = array_namespace(doutput)
    dquery, dkey, dvalue = _empty_heads(query, xp), _empty_heads(key, xp), _empty_heads(key, xp)
    tasks = [
        partial(_backward_task, place, doutput, cache, dquery, dkey, dvalue)
        for place in _head_groups(query.shape, key.shape[2], xp)
    ]
    parallel_blocks(tasks, xp)
    return dquery, dkey, dvalue


def _backward_task(
    place: tuple[slice, slice], doutput: Array, cache: dict, dquery: Array, dkey: Array, dvalue: Array
) -> None:
    """Gradients of some heads: each block of queries adds its part to the gradients of all keys and values."""
    xp = array_namespace(doutput)
    scale = 1 / math.sqrt(cache["query"].shape[-1])
    scaled_query = cache["query"][place] * scale
    keys_of_head = xp.ascontiguousarray(cache["key"][place])
    transposed_key = xp.ascontiguousarray(keys_of_head.swapaxes(-1, -2))
    transposed_value = xp.ascontiguousarray(cache["value"][place].swapaxes(-1, -2))
    maximum, total = cache["maximum"][place], cache["total"][place]  # (..., tokens, 1)
    doutputs = xp.ascontiguousarray(doutput[place]) / total
    num_keys = keys_of_head.shape[-2]
    lowest = numpy.finfo(doutput.dtype).min
    dkey_sum, dvalue_sum = xp.zeros_like(keys_of_head), xp.zeros_like(keys_of_head)
    for rows in _row_blocks(scaled_query.shape, num_keys, xp):
        blocks, delta = [], 0
        for keys in _key_blocks(num_keys, xp):
            scores = matmul(scaled_query[..., rows, :], transposed_key[..., keys])
            if cache["bias"] is not None:
                scores += _bias_block(cache["bias"], doutput.shape, num_keys, place, rows, keys, lowest, xp)
            one_kernel(_exp_above, (scores,), (maximum[..., rows, :],))
            weights = dropped = scores  # (..., rows, keys)
            dweights = matmul(doutputs[..., rows, :], transposed_value[..., keys])
            if cache["dropout"] is not None:
                mask = _dropout_block(cache["dropout"], doutput.shape, place, rows, keys, num_keys, weights)
                dropped = weights * mask
                dweights *= mask
            dvalue_sum[..., keys, :] += matmul(dropped.swapaxes(-1, -2), doutputs[..., rows, :])
            delta = delta + row_dots(weights, dweights)[..., None]
            blocks.append((keys, weights, dweights))
        delta = delta / total[..., rows, :]
        dquery_sum = xp.zeros_like(scaled_query[..., rows, :])
        for keys, weights, dweights in blocks:
            one_kernel(_softmax_gradient, (dweights,), (weights, delta))
            dscores = dweights
            dquery_sum += matmul(dscores, keys_of_head[..., keys, :])
            dkey_sum[..., keys, :] += matmul(dscores.swapaxes(-1, -2), scaled_query[..., rows, :])
        dquery[(*place, rows)] = dquery_sum * scale
    dkey[place] = dkey_sum  # the queries were scaled already
    dvalue[place] = dvalue_sum


def _exp_above(xp: Any, scores: Array, maximum: Array) -> None:
    """Scores become their exponentials, relative to that of the largest."""
    scores -= maximum
    xp.exp(scores, out=scores)


def _softmax_gradient(xp: Any, dweights: Array, weights: Array, delta: Array) -> None:
    """The gradient of the probabilities becomes that of the scores."""
    dweights -= delta
    dweights *= weights


def _empty_heads(like: Array, xp: Any) -> Array:
    """An array (batch, heads, tokens, head_size) that lies in memory as (batch, tokens, heads, head_size)."""
    batch, heads, tokens, head_size = like.shape
    return xp.empty((batch, tokens, heads, head_size), dtype=like.dtype).transpose(0, 2, 1, 3)


def _blocks(count: int, size: int) -> list[slice]:
    """Slices of at most `size` that cover `count`."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _key_blocks(num_keys: int, xp: Any) -> list[slice]:
    return _blocks(num_keys, BLOCK_KEYS if xp is numpy else BLOCK_KEYS_ON_GPU)


def _row_blocks(shape: tuple[int, ...], num_keys: int, xp: Any) -> list[slice]:
    """Blocks of queries, (..., queries, head_size), with whole blocks of the dropout mask each."""
    *stack, queries, _ = shape
    if not is_gpu(xp):
        return _blocks(queries, BLOCK_ROWS)
    at_once = max(1, ENTRIES_ON_GPU // (math.prod(stack) * num_keys * BLOCK_ROWS))
    in_all = -(-queries // BLOCK_ROWS)
    count = -(-in_all // at_once)
    return _blocks(queries, -(-in_all // count) * BLOCK_ROWS)


def _head_groups(shape: tuple[int, ...], num_keys: int, xp: Any) -> Iterator[tuple[slice, slice]]:
    """(batch, heads) slices for the tasks: single heads where they are large, many at once where they are small."""
    batch, heads, queries, _ = shape
    rows = min(queries, BLOCK_ROWS)
    if xp is numpy:
        group = max(1, TASK_ENTRIES // (rows * min(num_keys, BLOCK_KEYS)))
    else:
        group = max(1, ENTRIES_ON_GPU // (rows * num_keys))
    samples, heads_at_once = max(1, group // heads), min(group, heads)
    for b in range(0, batch, samples):
        for h in range(0, heads, heads_at_once):
            yield slice(b, min(b + samples, batch)), slice(h, min(h + heads_at_once, heads))


def _bias_block(
    bias: Array,
    shape: tuple[int, ...],
    num_keys: int,
    place: tuple[slice, slice],
    rows: slice,
    keys: slice,
    lowest: float,
    xp: Any,
) -> Array:
    """A block of the bias, its -inf as the lowest number there is (see `minivivit.ops.attention`)."""
    return xp.maximum(xp.broadcast_to(bias, (*shape[:3], num_keys))[(*place, rows, keys)], lowest)


def _dropout_block(
    dropout: AttentionDropout,
    shape: tuple[int, ...],
    place: tuple[slice, slice],
    rows: slice,
    keys: slice,
    num_keys: int,
    like: Array,
) -> Array:
    """0 or 1 / (1 - rate) for each entry of a block of scores."""
    seed, rate, *part = dropout
    first = first_sequence(shape[0], *part)
    samples, heads = place
    mask = numpy.empty(like.shape, dtype=like.dtype)
    for b in range(samples.start, samples.stop):
        for h in range(heads.start, heads.stop):
            of_head = mask[b - samples.start, h - heads.start]
            for start in range(rows.start, rows.stop, MASK_ROWS):
                few = of_head[start - rows.start : start - rows.start + MASK_ROWS]
                place_of_rows = (first + b, h, start // MASK_ROWS, len(few))
                few[...] = attention_dropout_keep(seed, rate, *place_of_rows, num_keys)[:, keys]
    mask *= 1 / (1 - rate)
    return array_namespace(like).asarray(mask)
