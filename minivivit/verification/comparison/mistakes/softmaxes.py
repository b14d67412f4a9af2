"""Mistaken scales of the scores, and mistaken probabilities: each computes them from scores that are right."""

import math
from collections.abc import Iterator

import numpy

from minivivit.ops.softmax import softmax_forward
from minivivit.verification.comparison.mistakes.mistaken_step import MistakenStep

# Takes all probability from a key.
HIDDEN = -1e30
# Keys are computed in tiles of so many.
TILES = (8, 16, 32, 64, 128)
MOST_TILES = 64


def softmax(scores: numpy.ndarray) -> numpy.ndarray:
    """The right one."""
    return softmax_forward(scores)[0]


def scales(head_size: int, num_heads: int) -> Iterator[tuple[str, float, str, str]]:
    """(cause, factor on our scores, mistake, advice)"""
    root, hidden = math.sqrt(head_size), head_size * num_heads
    advice = f"divide by sqrt(head size) = sqrt({head_size}) = {root:.4g}, once"
    yield "missing 1/sqrt(d)", root, "scores that are not divided by sqrt(head size)", advice
    yield "scaled by d", 1 / root, "scores divided by the head size instead of its root", advice
    yield "scaled by the hidden size", root / math.sqrt(hidden), "scores divided by sqrt(hidden size)", advice
    yield "scaled by the hidden size", root / hidden, "scores divided by the hidden size", advice
    yield "scaled by the number of heads", root / math.sqrt(num_heads), "scores divided by sqrt(heads)", advice
    yield "scaled by sqrt(d) upwards", head_size, "scores multiplied by sqrt(head size)", advice
    yield "scaled by sqrt(sqrt(d))", math.sqrt(root), "scores divided by the fourth root of the head size", advice


def other_head_sizes(head_size: int, num_heads: int) -> Iterator[tuple[str, float, str, str]]:
    """The same, of the scales that other numbers of heads would have and none of the above is."""
    named = [factor for _, factor, _, _ in scales(head_size, num_heads)]
    hidden = head_size * num_heads
    for size in (size for size in range(1, hidden + 1) if hidden % size == 0 and size != head_size):
        factor = math.sqrt(head_size / size)
        if all(abs(factor - other) > 1e-6 * factor for other in named):
            yield (
                "scaled by another head size",
                factor,
                f"scores divided by sqrt({size})",
                f"divide by sqrt(head size) = sqrt({head_size}), once",
            )


def mistaken_softmaxes() -> Iterator[MistakenStep]:
    """Probabilities of scores (batch, heads, queries, keys)."""
    advice = "softmax over the last axis of (batch, heads, queries, keys)"
    wrong_axis = "softmax over the wrong axis"
    yield MistakenStep(
        wrong_axis,
        "with softmax over the queries",
        advice,
        lambda scores: softmax(numpy.ascontiguousarray(scores.swapaxes(-1, -2))).swapaxes(-1, -2),
        whole=True,
    )
    yield MistakenStep(
        wrong_axis,
        "with softmax over the heads",
        advice,
        lambda scores: numpy.moveaxis(softmax(numpy.ascontiguousarray(numpy.moveaxis(scores, 1, -1))), -1, 1),
    )
    left_out = "softmax left out"
    yield MistakenStep(left_out, "without softmax", "apply softmax to the scores", lambda scores: scores)
    yield MistakenStep(
        left_out,
        "with every token weighted alike",
        "apply softmax to the scores",
        lambda scores: numpy.full_like(scores, 1 / scores.shape[-1]),
    )
    yield MistakenStep(
        "exponential with base 2",
        "with powers of 2 in softmax",
        "a kernel that uses exp2 must multiply the scores by log2(e) first",
        lambda scores: softmax(scores * math.log(2)),
    )
    yield MistakenStep(
        "causal mask",
        "with the later tokens masked out",
        "ViViT's attention sees all tokens: no mask, is_causal=False",
        lambda scores: softmax(numpy.where(numpy.tri(*scores.shape[-2:]) > 0, scores, HIDDEN)),
    )
    yield MistakenStep(
        "softmax with 1 added",
        "with 1 added to softmax's denominator",
        "softmax has no sink here: exp(s) / sum(exp(s))",
        lambda scores: padded_softmax(scores, 1),
    )
    yield MistakenStep(
        "sigmoid in place of softmax",
        "with a sigmoid in place of softmax",
        "apply softmax to the scores",
        lambda scores: 1 / (1 + numpy.exp(-scores)),
    )


def padded_softmax(scores: numpy.ndarray, number: float) -> numpy.ndarray:
    """With keys of zeros beside ours: each adds exp(0) = 1 to softmax's denominator."""
    largest = numpy.maximum(scores.max(axis=-1, keepdims=True), 0.0)
    exponentials = numpy.exp(scores - largest)
    return exponentials / (exponentials.sum(axis=-1, keepdims=True) + number * numpy.exp(-largest))


def without_keys(scores: numpy.ndarray, keys: list[int]) -> numpy.ndarray:
    """Softmax over the other keys."""
    left = scores.copy()
    left[..., keys] = HIDDEN
    return softmax(left)


def tiles_of_keys(tokens: int) -> list[tuple[int, ...]]:
    """Keys that a kernel may leave out: the first, the last, the last tile that is not full, any full tile."""
    found: dict[tuple[int, ...], None] = {(0,): None, (tokens - 1,): None}
    for size in TILES:
        if size < tokens <= size * MOST_TILES:
            found |= {tuple(range(start, min(start + size, tokens))): None for start in range(0, tokens, size)}
    return [keys for keys in found if len(keys) < tokens]


def paddings(tokens: int) -> list[int]:
    """Keys of zeros that fill the last tile."""
    return sorted({-tokens % size for size in TILES} - {0, 1})
