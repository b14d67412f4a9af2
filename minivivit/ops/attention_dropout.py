"""Dropout masks for attention probabilities, drawn block by block."""

import numpy

# (seed, rate), or (seed, rate, (start, stop)) where the batch is a part of another: samples `start` to `stop` of it.
AttentionDropout = tuple[int, float] | tuple[int, float, tuple[int, int]]
# Rows of queries that share one stream of random numbers. A fixed size, whatever blocks attention works in.
MASK_ROWS = 256


def first_sequence(num_sequences: int, samples: tuple[int, int] | None = None) -> int:
    """Which sequence of the whole batch is the first of these: 0 unless they are those of a part, (start, stop).

    Each sample has become as many sequences as any other: one, or in a factorised model one for each time or place.
    """
    if samples is None:
        return 0
    start, stop = samples
    return start * (num_sequences // (stop - start))


def attention_dropout_keep(
    seed: int, rate: float, batch_index: int, head_index: int, row_block: int, num_rows: int, num_keys: int
) -> numpy.ndarray:
    """Which probabilities of one block of rows to keep: boolean, shape (num_rows, num_keys).

    A mask over all tokens x tokens would be the array that blockwise attention exists to avoid. So the mask is a
    function of its place: a counter-based generator (Philox) is set to the block's own counter, and the backward pass
    draws the same block again.

    Parameters
    ----------
    seed : int
        One draw of the caller's generator, for one layer and step.
    rate : float
        Probability of dropping an entry.
    batch_index, head_index, row_block : int
        Which block: rows ``row_block * MASK_ROWS`` and on of this head.
    """
    philox = numpy.random.Philox(key=seed, counter=[0, row_block, head_index, batch_index])
    return numpy.random.Generator(philox).random((num_rows, num_keys), dtype=numpy.float32) >= rate


def full_attention_dropout_keep(
    seed: int, rate: float, shape: tuple[int, int, int, int], samples: tuple[int, int] | None = None
) -> numpy.ndarray:
    """The blocks of `attention_dropout_keep` put together: boolean, shape (batch, heads, queries, keys)."""
    batch, heads, queries, keys = shape
    first = first_sequence(batch, samples)
    keep = numpy.empty(shape, dtype=bool)
    for b in range(batch):
        for h in range(heads):
            for row_block, start in enumerate(range(0, queries, MASK_ROWS)):
                rows = keep[b, h, start : start + MASK_ROWS]
                rows[...] = attention_dropout_keep(seed, rate, first + b, h, row_block, len(rows), keys)
    return keep
